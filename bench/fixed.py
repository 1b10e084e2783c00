"""A worker that has just limits.concurrency requests under way, whatever they take: what the adaptive limit is measured
beside. dramatiq bench.fixed:boot
"""

from __future__ import annotations

import workers.main


class Fixed:
    """workers.throttle.Limit that learns nothing."""

    level = 0

    def __init__(self, most: int) -> None:
        self.allowed = most

    def answered(self, level: int | None, kind: str, seconds: float) -> None: ...

    def pushed_back(self) -> None: ...


def boot() -> None:
    workers.main.boot(concurrency=Fixed)

"""How many requests went well just now."""

from __future__ import annotations

from collections.abc import Callable

SPAN_SECONDS = 1.0


class Recent:
    """Counts over the last one to two spans. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = self._turned = clock()
        self._before = self._count = 0

    def add(self) -> None:
        now = self._clock()
        if not self._before and not self._count:
            self._since = self._turned = now
        if now - self._turned > SPAN_SECONDS:
            quiet = now - self._turned > 2 * SPAN_SECONDS
            self._before = 0 if quiet else self._count
            self._since = now if quiet else self._turned
            self._count, self._turned = 0, now
        self._count += 1

    def take(self) -> tuple[int, float]:
        """How many, in how many seconds; and counts anew."""
        found = self._before + self._count, max(0.001, self._clock() - self._since)
        self._before = self._count = 0
        self._since = self._turned = self._clock()
        return found

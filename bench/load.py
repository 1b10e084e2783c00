"""Initial load: one worker process and the sync that feeds it, no Bulk, an endpoint that answers at once. Counted from the
endpoint's first request to its last. Beside it an asyncio loop that posts the same ready-made bodies with the same HTTP
library, as many at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.place import bare, endpoint, make_site, place

CONCURRENCY = 32
GOALS = (
    Goal("1", "initial load, one worker, no Bulk", "users/s", "load", "posting", at_least=0.7),
    Goal("3", "requests per created user", "", "requests", "one", at_most=1.05),
)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    users = 2_000 if quick else 20_000
    site = f"sqlite:///{folder / 'site.sqlite'}"
    # The administrator is one of them.
    make_site(site, users - 1).close()

    def once() -> Figures:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            return _once(Path(name), site, users)

    yield once


def _once(folder: Path, site: str, users: int) -> Figures:
    with endpoint() as url:
        posting = bare("create", site, str(CONCURRENCY), url)
    with endpoint() as url, place(folder, url, site, concurrency=CONCURRENCY) as made:
        made.start_worker()
        made.wait_for_workers(1)
        loaded = made.run("sync")
        assert loaded["created"] == users, loaded
        stats = made.stats()
    sent = sum(value for name, value in stats.items() if name.startswith(("GET", "POST")))
    return {
        "load": users / stats["seconds"],
        "posting": users / posting,
        "requests": sent / users,
        "one": 1.0,
    }

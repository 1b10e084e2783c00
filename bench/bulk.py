"""Initial load by Bulk requests of up to 1,000 operations: one worker process and the sync that feeds it, an endpoint that
answers at once. Beside it the same load without Bulk, in the same run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import load
from bench.figures import Figures, Goal, Once
from bench.place import endpoint, place
from bench.site import make_large_site

OPERATIONS = 1000
GOALS = (Goal("2", "initial load, one worker, Bulk", "users/s", "bulk", "load", at_least=3.0),)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    users = 2_000 if quick else 20_000
    site = f"sqlite:///{folder / 'site.sqlite'}"
    make_large_site(site, users).close()

    def once() -> Figures:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            return _once(Path(name), site, users)

    yield once


def _once(folder: Path, site: str, users: int) -> Figures:
    plain = load._once(folder / "plain", site, users)  # noqa: SLF001  # the same run, in this place
    manners = {"bulk": OPERATIONS}
    with (
        endpoint(**manners) as url,
        place(folder / "bulk", url, site, concurrency=load.CONCURRENCY, bulk="auto") as made,
    ):
        made.start_worker()
        made.wait_for_workers(1)
        loaded = made.run("sync")
        assert loaded["created"] == users, loaded
        stats = made.stats()
    return {
        "bulk": users / stats["seconds"],
        "load": plain["load"],
        "bulk requests": stats["POST Bulk"],
        "requests of their own": stats.get("POST Users", 0),
    }

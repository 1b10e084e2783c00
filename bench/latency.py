"""An endpoint that takes 100 ms for each request and any number at once, one worker process. Counted from the endpoint's
first request to its last. Beside it what so many requests take with all places always taken: N x latency / concurrency;
and an asyncio loop that posts the same ready-made bodies, as many at a time, which takes time of its own too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.place import endpoint, place, posted, requests_in
from bench.site import make_large_site

LATENCY = 0.1
# How many at once, and how many users: fifteen to twenty seconds of requests each.
USERS = {32: 6_000, 128: 20_000}
GOALS = tuple(
    goal
    for each in USERS
    for goal in (
        Goal("4", f"100 ms latency, concurrency {each}", "s", f"took{each}", f"ideal{each}", at_most=1.15),
        Goal("4", "the same, beside a loop that only posts", "s", f"took{each}", f"bare{each}"),
    )
)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    sites = {each: f"sqlite:///{folder / f'{each}.sqlite'}" for each in USERS}
    for each, users in USERS.items():
        make_large_site(sites[each], (users // 4 if quick else users) + 1).close()

    def once() -> Figures:
        figures: dict[str, float] = {}
        for each, site in sites.items():
            with tempfile.TemporaryDirectory(dir=folder) as name:
                figures |= _once(Path(name), site, each)
        return figures

    yield once


def _once(folder: Path, site: str, concurrency: int) -> Figures:
    with endpoint(latency=LATENCY) as url:
        posting = posted("create", site, concurrency, url)
    with endpoint(latency=LATENCY) as url, place(folder, url, site, concurrency=concurrency) as made:
        made.start_worker()
        made.wait_for_workers(1)
        made.run("sync")
        stats = made.stats()
    ideal = requests_in(stats) * LATENCY / concurrency
    return {
        f"took{concurrency}": stats["seconds"],
        f"ideal{concurrency}": ideal,
        f"bare{concurrency}": posting["seconds"],
    }

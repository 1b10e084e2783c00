"""An endpoint that takes 20 requests at a time, 50 ms each, and slows down beyond; it never says so. One worker process that
may have 64 under way. Beside it the best of the same worker with a fixed number under way, each in the same run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.place import endpoint, place, requests_in
from bench.site import make_large_site

LATENCY, AT_ONCE, MOST = 0.05, 20, 64
FIXED = (16, 20, 24, 32)
GOALS = (
    Goal(
        "4",
        "takes 20 at a time, beside the best fixed number",
        "requests/s",
        "adaptive",
        "best",
        at_least=0.9,
    ),
    *(
        Goal("4", f"the same, beside {each} at a time", "requests/s", "adaptive", f"fixed{each}")
        for each in FIXED
    ),
)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    site = f"sqlite:///{folder / 'site.sqlite'}"
    make_large_site(site, 501 if quick else 5_001).close()

    def rate(concurrency: int, boot: str) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            return _rate(Path(name), site, concurrency, boot)

    def once() -> Figures:
        fixed = {each: rate(each, "bench.fixed:boot") for each in FIXED}
        figures = {f"fixed{each}": found for each, found in fixed.items()}
        return {**figures, "best": max(fixed.values()), "adaptive": rate(MOST, "workers.main:boot")}

    yield once


def _rate(folder: Path, site: str, concurrency: int, boot: str) -> float:
    manners = {"latency": LATENCY, "at_once": AT_ONCE}
    with endpoint(**manners) as url, place(folder, url, site, concurrency=concurrency) as made:
        made.start_worker(boot=boot)
        made.wait_for_workers(1)
        made.run("sync")
        stats = made.stats()
    return requests_in(stats) / float(stats["seconds"])

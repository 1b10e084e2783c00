"""An endpoint that takes 50 ms for each request and any number at once, and 8 under way a worker: the same work by one, two
and four worker processes, in requests a second from the endpoint's first to its last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.place import endpoint, place, requests_in
from bench.site import make_large_site

LATENCY, CONCURRENCY = 0.05, 8
GOALS = (
    Goal("9", "two workers, beside one", "requests/s", "two", "one", at_least=1.9),
    Goal("9", "four workers, beside one", "requests/s", "four", "one", at_least=3.6),
)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    site = f"sqlite:///{folder / 'site.sqlite'}"
    make_large_site(site, 601 if quick else 4_001).close()

    def once() -> Figures:
        figures: dict[str, float] = {}
        for name, workers in (("one", 1), ("two", 2), ("four", 4)):
            with tempfile.TemporaryDirectory(dir=folder) as own:
                figures[name] = _rate(Path(own), site, workers)
        return figures

    yield once


def _rate(folder: Path, site: str, workers: int) -> float:
    with endpoint(latency=LATENCY) as url, place(folder, url, site, concurrency=CONCURRENCY) as made:
        for _ in range(workers):
            made.start_worker()
        made.wait_for_workers(workers)
        made.run("sync")
        stats = made.stats()
    return requests_in(stats) / float(stats["seconds"])

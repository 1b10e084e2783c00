"""An endpoint that allows 25 or 100 requests a second by a token bucket (a quarter of a second's worth at once, then 429
and Retry-After in whole seconds), one and four worker processes; the four at the same time, since they wait most of it, but
each begins when the one before has had its first ten seconds: what starts ten processes is not what is measured.
Four minutes from the first request on, and of them those after the first ten seconds: what was let through beside what
was allowed, and how many of a hundred were answered 429, beside one. Whoever is answered 429 comes back: none may end as
a dead letter.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Barrier, Lock

from bench.figures import Figures, Goal, Once
from bench.place import endpoint, place, requests_in
from bench.site import make_large_site

RATES, WORKERS = (25, 100), (1, 4)
CELLS = tuple(product(RATES, WORKERS))
SETTLED_SECONDS, SECONDS, QUICK_SECONDS, START_SECONDS = 10.0, 240.0, 40.0, 120.0
GOALS = tuple(
    goal
    for rate, workers in CELLS
    for goal in (
        Goal("5", f"{rate}/s allowed, workers: {workers}", "requests/s", f"used{rate}x{workers}", f"allowed{rate}", at_least=0.97),
        Goal("5", "after the first 10 s", "requests/s", f"later{rate}x{workers}", f"allowed{rate}", at_least=0.97),
        Goal("5", "of them answered 429", "%", f"refused{rate}x{workers}", "one", at_most=1.0),
        Goal("5", "dead letters", "", f"letters{rate}x{workers}", "one", at_most=0.0),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """How those at the same time begin: all_ready: once the workers of all are there; turn: one after the other."""

    all_ready: Barrier
    turn: Lock


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    seconds = QUICK_SECONDS if quick else SECONDS
    sites = {rate: f"sqlite:///{folder / f'{rate}.sqlite'}" for rate in RATES}
    for rate, site in sites.items():
        # More than can be sent meanwhile, at one request each.
        make_large_site(site, round(rate * seconds * 1.1)).close()

    def once() -> Figures:
        start = Start(Barrier(len(CELLS), timeout=START_SECONDS), Lock())

        def cell(rate: int, workers: int) -> Figures:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                return _cell(Path(name), sites[rate], rate, workers, seconds, start)

        figures: dict[str, float] = {"one": 1.0, **{f"allowed{rate}": float(rate) for rate in RATES}}
        with ThreadPoolExecutor(len(CELLS)) as pool:
            for found in pool.map(lambda each: cell(*each), CELLS):
                figures |= found
        return figures

    yield once


def _cell(folder: Path, site: str, rate: int, workers: int, seconds: float, start: Start) -> Figures:
    with endpoint(per_second=rate) as url, place(folder, url, site) as made:
        for _ in range(workers):
            made.start_worker()
        made.wait_for_workers(workers)
        start.all_ready.wait()
        with start.turn:
            made.start_command("sync", "--no-wait")
            while not requests_in(made.stats()):
                time.sleep(0.05)
            began = time.monotonic()
            time.sleep(SETTLED_SECONDS)
            early = made.stats()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        stats = made.stats()
        letters = made.run("status")["targets"]["bench"]["failed"]
    later = requests_in(stats) - requests_in(early)
    refused = stats.get("429", 0) - early.get("429", 0)
    name = f"{rate}x{workers}"
    return {
        f"used{name}": (requests_in(stats) - stats.get("429", 0)) / stats["seconds"],
        f"later{name}": (later - refused) / (stats["seconds"] - early["seconds"]),
        f"refused{name}": 100 * refused / later,
        f"letters{name}": float(letters),
    }

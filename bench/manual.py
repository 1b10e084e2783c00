"""Manual provisioning with a warm worker: from submit to the result in hand, one user after the other, median of 40, less what
the requests themselves took (their number times the endpoint's latency); beside the 150 ms it may take. And the longest
of ten manual jobs in the middle of a full sync of 100,000 users, who are pending for that sync already; beside 1 s.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from bench.figures import Figures, Goal, Once
from bench.place import Place, endpoint, place
from bench.site import make_large_site
from config.loading import load
from producers.manual import submit
from producers.opened import opened
from producers.submission import wait_for
from provisioning.model import OutcomeName
from state.target_state import TargetState

GOALS = (
    Goal("7", "manual, beyond its requests (at once)", "ms", "at once", "150 ms", at_most=1.0),
    Goal("7", "manual, beyond its requests (50 ms each)", "ms", "far", "150 ms", at_most=1.0),
    Goal("7", "manual, in the middle of a full sync, worst of 10", "ms", "amid", "1 s", at_most=1.0),
)
SINGLE, AMID, WARM = 40, 10, 5
LATENCY = 0.05
PAUSE_SECONDS = 0.3
TIMEOUT = 60


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    users = 5_000 if quick else 100_000
    site = f"sqlite:///{folder / 'site.sqlite'}"
    made = make_large_site(site, users + 1)
    everybody = [user.uuid for user in made.users() if user.uid > 1]
    made.close()
    os.environ["BENCH_TOKEN"] = "bench"

    def once() -> Figures:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            return {
                "at once": 1000 * _single(Path(name, "near"), site, everybody, 0.0),
                "far": 1000 * _single(Path(name, "far"), site, everybody, LATENCY),
                "amid": 1000 * _amid(Path(name, "amid"), site, everybody),
                "150 ms": 150.0,
                "1 s": 1000.0,
            }

    yield once


def _single(folder: Path, site: str, everybody: Sequence[str], latency: float) -> float:
    with endpoint(latency=latency) as url, place(folder, url, site) as made:
        made.start_worker("interactive")
        made.wait_for_workers(1)

        async def body(state: TargetState) -> float:
            spent = []
            for user in everybody[: SINGLE + WARM]:
                before = requests(made)
                seconds = await _one(state, user)
                spent.append(seconds - (requests(made) - before) * latency)
            return statistics.median(spent[WARM:])

        return _with_state(made, body)


def _amid(folder: Path, site: str, everybody: Sequence[str]) -> float:
    """The users are those the sync comes to last."""
    with endpoint() as url, place(folder, url, site) as made:
        made.start_worker("interactive")
        made.start_worker("bulk")
        made.wait_for_workers(2)

        async def body(state: TargetState) -> float:
            made.start_command("sync", "--no-wait")
            # The rest of the sync is pending by then, or being found.
            await asyncio.to_thread(_until_under_way, made, len(everybody) // 20)
            waits = []
            for user in everybody[-AMID:]:
                waits.append(await _one(state, user))
                await asyncio.sleep(PAUSE_SECONDS)
            assert made.stats()["accounts"] < len(everybody), "the sync was over"
            return max(waits)

        return _with_state(made, body)


def _until_under_way(made: Place, accounts: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while made.stats()["accounts"] < accounts:
        assert time.monotonic() < deadline, "the sync did not begin"
        time.sleep(0.1)


async def _one(state: TargetState, user: str) -> float:
    began = time.perf_counter()
    results = await wait_for(state, await submit(state, [user]), TIMEOUT)
    seconds = time.perf_counter() - began
    assert results[user].outcome is OutcomeName.DONE, results
    return seconds


def _with_state(made: Place, body: Any) -> float:
    async def run() -> float:
        async with opened(load(made.folder / "scimpipe.toml"), structlog.get_logger()) as all_of_it:
            result: Coroutine[Any, Any, float] = body(all_of_it.state("bench"))
            return await result

    return asyncio.run(run())


def requests(made: Place) -> int:
    return sum(value for name, value in made.stats().items() if name.startswith(("GET", "POST", "PATCH")))

"""The target is down while everybody is pending: nobody is given up, no attempt is spent, and then everything goes out."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from tests.faults.processes import family
from tests.faults.report import FULL
from tests.faults.world import World, world

SEED = 20261127
# (users, seconds) of each kind.
EXTENT = {"down": (20_000, 300), "wrong token": (20_000, 300)} if FULL else {"wrong token": (300, 15)}
MEGABYTE = 1024 * 1024


def worker_memory(made: World) -> int:
    """Bytes resident, of all processes of the worker together."""
    found = 0
    for pid in family(made.running.processes[0].pid):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found += pages * 4096
    return found


def attempts(made: World) -> set[int]:
    jobs = made.running.redis().hgetall("scimpipe:{main}:jobs")
    return {json.loads(job)["a"] for job in jobs.values()}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", EXTENT)
def test_an_outage_costs_nobody_an_attempt_and_ends_by_itself(tmp_path, report, kind):
    users, seconds = EXTENT[kind]
    with world(tmp_path, report, SEED, people=users, timeout=30.0) as made:
        if kind == "down":
            made.proxy.refuse(on=True)
        else:
            made.proxy.unauthorized = True
        made.injected += 1
        made.running.start("worker", "scheduler", "changes")
        made.running.workers_ready()
        made.running.run("sync", "--no-wait")
        made.running.until(
            lambda: made.running.run("status")["targets"]["main"]["health"] == "quarantined", 60
        )
        time.sleep(2)
        began, before = time.time(), worker_memory(made)
        while time.time() < began + seconds:
            status = made.running.run("status")["targets"]["main"]
            assert (status["failed"], status["running"], status["pending"]) == (0, 0, users + 1)
            time.sleep(3)
        grown = worker_memory(made) - before
        assert grown < 16 * MEGABYTE
        assert attempts(made) == {1}
        probes = [each.began for each in made.proxy.record.exchanges if each.began > began]
        gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
        assert all(gap >= 0.9 for gap in gaps), gaps
        assert kind == "down" or probes
        made.proxy.calm()
        # Nobody enqueues anything again.
        made.running.until(lambda: made.running.run("status")["targets"]["main"]["linked"] == users + 1, 500)
        assert {each["attempt"] for each in made.running.run("history")} == {1}
        made.settle(f"{kind} for {seconds} s")
        report.add(
            f"{kind}, seen",
            users,
            0,
            (),
            probes=len(probes),
            worker_memory_grown_mb=round(grown / MEGABYTE, 1),
        )

"""All three triggers at once over four workers: never two requests about one user at a time, and the right end."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from config.loading import load
from producers.manual import submit
from producers.opened import opened
from tests.faults.report import FULL
from tests.faults.world import World, world

SEED = 20261126
EDITS = 10_000 if FULL else 300
USERS = 200 if FULL else 40


@contextmanager
def manual_and_scheduled(made: World) -> Iterator[None]:
    """Submits by hand and by full syncs, without waiting, until the block ends."""
    stop = threading.Event()

    async def run() -> None:
        choose = random.Random(SEED)
        settings = load(made.running.folder / "scimpipe.toml")
        async with opened(settings, structlog.get_logger()) as all_of_it:
            while not stop.is_set():
                await submit(all_of_it.state("main"), choose.sample(made.there(), 5))
                sync = await all_of_it.full_sync("main")
                run_id, kind = await sync.start("scheduled")
                if kind != "busy":
                    await sync.scan(run_id, kind)
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.timeout(600)
def test_one_request_at_a_time_for_a_user_and_the_last_edit_wins(tmp_path, report):
    with world(tmp_path, report, SEED, people=USERS, timeout=30.0) as made:
        # Slow enough that requests of two workers would meet.
        made.proxy.delay_seconds = 0.01
        made.running.start("worker", "worker", "scheduler", "changes")
        made.running.until(lambda: made.running.run("status")["workers"] >= 4)
        with manual_and_scheduled(made):
            for number in range(EDITS):
                uuid = made.random.choice(made.there())
                if number % 10 == 0:
                    made.set(uuid, status=not made.people[uuid].status)
                else:
                    made.edit(uuid)
                if not FULL:
                    time.sleep(0.01)
        made.settle(f"{EDITS} edits by three triggers", 240)
        overlaps = made.proxy.record.overlaps()
        assert not overlaps, overlaps[:3]
        requests = sum(not each.operation for each in made.proxy.record.exchanges)
        report.add(
            "ordering, requests seen", len(made.there()), 0, (), requests=requests, overlaps=len(overlaps)
        )

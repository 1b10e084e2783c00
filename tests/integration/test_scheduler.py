"""The scheduler that begins to lead, on a real Valkey: what the one before it left undone is done, not left to the next cron time."""

from __future__ import annotations

import asyncio
import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from config.settings import MappedValue, ScheduledSettings, TargetSettings
from producers.full_sync import FullSync
from producers.main import cancelled
from producers.schedule import Scheduler
from provisioning.errors import SourceUnreadable
from state.gate import Gate
from state.keys import SOURCE
from state.processes import Announced
from tests.support.fakes import FakeSite
from tests.support.producing import World
from tests.support.scanning import ALL
from tests.support.valkey import with_redis

LONG_SECONDS = 10


def cron_at(when: dt.datetime) -> str:
    return f"{when.minute} {when.hour} * * *"


class Opened:
    """Of what a scheduler works with, what one target's full syncs need."""

    def __init__(self, world: World, client: Any, cron: str) -> None:
        self.redis, self.owner, self.reader = client, "here", FakeSite()
        self.source_gate = Gate(client, SOURCE)
        scheduled = ScheduledSettings(operations=ALL, cron=cron)
        target = TargetSettings(
            name="acme",
            base_url="https://acme.example",
            mapping={"userName": MappedValue(value="name")},
            scheduled=scheduled,
        )
        self.settings, self.announced = SimpleNamespace(targets={"acme": target}), Announced()
        self.world = world

    def state(self, name: str) -> Any:  # there is one
        return self.world.state

    async def full_sync(self, name: str) -> FullSync:
        return self.world.sync

    def sweeper(self, name: str) -> SimpleNamespace:
        async def sweep() -> None: ...

        return SimpleNamespace(sweep=sweep)


async def leads(
    opened: Opened, condition: Any, seconds: float = LONG_SECONDS, *, again_seconds: float = 300
) -> bool:
    """Whether a scheduler that begins to lead brings this about."""
    running = asyncio.create_task(Scheduler(opened, structlog.get_logger(), again_seconds).run())
    for _ in range(round(seconds / 0.05)):
        if await condition():
            break
        await asyncio.sleep(0.05)
    running.cancel()
    return bool(await condition())


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client), client))


def in_half_a_day() -> dt.datetime:
    return dt.datetime.now().astimezone() + dt.timedelta(hours=12)


def test_the_scan_of_a_process_that_was_killed_goes_on_as_soon_as_nobody_is_waited_for(world):
    """Who was killed leads for 15 s, and scans for 30 s, as far as anybody can tell."""

    async def body(world, client):
        run_id, _ = await world.state.runs.start("killed", "scheduled", world.compiled.policy_digest)
        await client.pexpire("scimpipe:{acme}:scanner", 2_000)

        async def scanned() -> bool:
            return (await world.state.runs.get(run_id)).scanned_all

        assert await leads(Opened(world, client, cron_at(in_half_a_day())), scanned)

    world(body)


def test_a_scan_that_was_busy_is_looked_at_again(world):
    """Whoever scans may be interrupted, or die: nobody else would go on with it."""

    async def body(world, client):
        run_id, _ = await world.state.runs.start("a command", "manual", world.compiled.policy_digest)
        await client.pexpire("scimpipe:{acme}:scanner", 300)
        scanner_seconds = world.state.runs.scanner_seconds

        async def just_before_it_says_that_it_goes_on():
            found = await scanner_seconds()
            await client.pexpire("scimpipe:{acme}:scanner", 1_500)
            return found

        world.state.runs.scanner_seconds = just_before_it_says_that_it_goes_on

        async def scanned() -> bool:
            return (await world.state.runs.get(run_id)).scanned_all

        opened = Opened(world, client, cron_at(in_half_a_day()))
        assert await leads(opened, scanned, again_seconds=0.5)

    world(body)


def test_a_start_that_is_asked_for_once_more_is_no_others(world):
    """Its answer was lost: it would wait for itself."""

    async def body(world, client):
        runs = world.state.runs
        run_id, kind = await runs.start("here/1", "scheduled", "policy")
        assert (kind, await runs.start("here/1", "scheduled", "policy")) == ("new", (run_id, "resume"))
        assert await runs.start("here/2", "scheduled", "policy") == (run_id, "busy")
        await runs.stop_scanning(run_id, "here/2", "not its business")
        assert (await runs.get(run_id)).error == ""
        assert await runs.start("here/3", "scheduled", "policy") == (run_id, "busy")

    world(body)


@pytest.mark.parametrize("again_seconds", [1, 300])
def test_a_scan_that_failed_on_drupal_goes_on_by_itself(world, again_seconds):
    """The next cron time may be a day away."""

    async def body(world, client):
        run_id, _ = await world.state.runs.start("killed", "scheduled", world.compiled.policy_digest)
        await client.delete("scimpipe:{acme}:scanner")
        verify, unwell = world.site.verify, iter([SourceUnreadable("Drupal does not answer")])

        async def unwell_once() -> str:
            for error in unwell:
                raise error
            return await verify()

        async def scanned() -> bool:
            return (await world.state.runs.get(run_id)).scanned_all

        world.site.verify = unwell_once
        opened = Opened(world, client, cron_at(in_half_a_day()))
        assert await leads(opened, scanned, 4, again_seconds=again_seconds) == (again_seconds == 1)

    world(body)


@pytest.mark.parametrize("minutes", [1, 4])
def test_a_cron_time_at_which_nobody_led_is_made_up_for(world, minutes):
    async def body(world, client):
        before = await world.run_sync()
        missed = dt.datetime.now().astimezone() - dt.timedelta(minutes=minutes)
        await client.hset(
            f"scimpipe:{{acme}}:run:{before.run_id}", "started_at", int((missed.timestamp() - 300) * 1000)
        )
        await client.hsetnx(f"scimpipe:{{acme}}:run:{before.run_id}", "finished_at", 1)

        async def another() -> bool:
            return (await world.state.runs.last()).run_id != before.run_id

        assert await leads(Opened(world, client, cron_at(missed)), another)

    world(body)


@pytest.mark.parametrize("minutes", [1, 20], ids=["was done", "long ago"])
def test_nothing_is_made_up_for_that_was_not_missed(world, minutes):
    """A full sync was begun since; or whoever was not there for so long has to wait for the next time."""

    async def body(world, client):
        before = await world.run_sync()
        await client.hsetnx(f"scimpipe:{{acme}}:run:{before.run_id}", "finished_at", 1)
        at = dt.datetime.now().astimezone() - dt.timedelta(minutes=minutes)
        if minutes > 5:
            await client.hset(f"scimpipe:{{acme}}:run:{before.run_id}", "started_at", 1)

        async def another() -> bool:
            return (await world.state.runs.last()).run_id != before.run_id

        with capture_logs() as logged:
            assert not await leads(Opened(world, client, cron_at(at)), another, 2)
        assert ("sync_missed" in [line["event"] for line in logged]) == (minutes > 5)

    world(body)


def test_a_scheduler_that_is_told_to_end_just_as_it_asks_redis_ends(world):
    """The first time is lost there: it went on for good, and kept the embedded server up."""

    async def body(world, client):
        class Log:
            def info(self, event: str, **_: Any) -> None:
                if event == "scheduler_leading":
                    running.cancel()

        running = asyncio.create_task(Scheduler(Opened(world, client, cron_at(in_half_a_day())), Log()).run())
        await asyncio.sleep(0.5)
        await asyncio.wait({asyncio.create_task(cancelled(running))}, timeout=5)
        assert running.done()

    world(body)

"""The sweeper on a real Valkey: who gets another message, and in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import structlog

from config.settings import Trigger
from producers import schedule
from producers.sweep import Sweeper, probe_source
from provisioning.errors import Unauthorized
from state.gate import FAILURES, Gate
from state.keys import SOURCE
from state.ledger import BULK, INTERACTIVE
from state.processes import Announced
from tests.support.fakes import FakeTarget
from tests.support.producing import USERS, World
from tests.support.valkey import with_redis

HOUR_MS = 3_600_000
WHOLE_LOAD = [f"0a000000-0000-4000-8000-{number:012d}" for number in range(2_500)]


class Swept(World):
    def __init__(self, client: object) -> None:
        super().__init__(client)
        self.client = client
        self.target = FakeTarget()
        self.source_gate = Gate(client, SOURCE)
        self.sweeper = Sweeper(self.state, self.target, self.source_gate, structlog.get_logger())

    async def lost(self, users: Sequence[str], trigger: Trigger) -> None:
        """They are pending, their message has been gone for half a minute."""
        await self.state.ledger.mark_pending(users, trigger)
        for name in ("due", "urgent"):
            await self.client.zadd(f"scimpipe:{{acme}}:{name}", dict.fromkeys(users, 1), xx=True)


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(Swept(client)))


def test_a_lost_message_is_sent_again_and_a_quarantined_target_is_probed_first(world):
    async def body(world):
        await world.lost(USERS[:1], Trigger.SCHEDULED)
        await world.state.gate.failed("401", certain=True)
        world.target.before = lambda verb: Unauthorized("401")
        await world.client.hset("scimpipe:{acme}:gate", "probe_at", 0)
        await world.sweeper.sweep()
        assert world.sent.users == []
        world.target.before = lambda verb: None
        await world.client.hset("scimpipe:{acme}:gate", "probe_at", 0)
        await world.sweeper.sweep()
        assert world.sent.users == [USERS[0]]
        assert (await world.state.gate.health()).open

    world(body)


def test_while_the_site_cannot_be_read_nobody_is_sent(world):
    async def body(world):
        await world.lost(USERS[:1], Trigger.SCHEDULED)
        await world.source_gate.failed("down", certain=True)
        await world.sweeper.sweep()
        assert world.sent.users == []
        await world.source_gate.recover()
        await world.sweeper.sweep()
        assert world.sent.users == [USERS[0]]

    world(body)


def test_one_user_who_cannot_be_read_does_not_close_the_site_again_after_a_probe(world):
    async def body(world):
        for _ in range(FAILURES):
            await world.source_gate.failed("500", certain=False)
        await world.client.hset("scimpipe:{@drupal}:gate", "probe_at", 0)
        await probe_source(world.source_gate, world.site, structlog.get_logger())
        assert not await world.source_gate.failed("500", certain=False)
        assert (await world.source_gate.health()).open

    world(body)


def test_while_the_target_has_asked_for_a_long_wait_nobody_is_sent_another_message(world):
    async def body(world):
        await world.lost(USERS[:1], Trigger.SCHEDULED)
        await world.state.gate.throttle(3600)
        await world.sweeper.sweep()
        assert world.sent.users == []
        await world.state.gate.resume()
        # Asked to wait a second over and over, somebody whose message is lost must not wait for ever.
        await world.state.gate.throttle(1)
        await world.sweeper.sweep()
        assert world.sent.users == [USERS[0]]

    world(body)


@pytest.mark.parametrize(("trigger", "lane"), [(Trigger.SCHEDULED, BULK), (Trigger.AUTOMATIC, INTERACTIVE)])
def test_whose_message_was_let_go_gets_another_with_the_next_sweep_unless_they_wait_for_a_back_off(
    world, trigger, lane
):
    async def body(world):
        ledger = world.state.ledger
        await ledger.mark_pending(USERS[:2], trigger)
        (job,) = await ledger.claim(USERS[:1], "w", 60.0)
        await ledger.hand_back([job.user], "w", 60.0)
        assert await ledger.sweep(lane) == ()
        await ledger.let_go(USERS[:3])
        assert await ledger.sweep(lane) == (USERS[1],)

    world(body)


def test_whoever_was_blocked_in_the_middle_of_a_load_comes_first_and_the_load_goes_on_at_once(world):
    async def body(world):
        await world.lost(WHOLE_LOAD, Trigger.SCHEDULED)
        await world.lost(USERS[:1], Trigger.AUTOMATIC)
        await world.sweeper.sweep()
        assert world.sent.messages[0] == [USERS[0]]
        assert sorted(world.sent.users) == sorted([*WHOLE_LOAD, USERS[0]])
        # They have their messages now.
        await world.sweeper.sweep()
        assert len(world.sent.users) == len(WHOLE_LOAD) + 1

    world(body)


@pytest.mark.parametrize(("trigger", "lane"), [(Trigger.SCHEDULED, BULK), (Trigger.AUTOMATIC, INTERACTIVE)])
def test_while_messages_wait_a_thousand_are_sent_again_at_a_time_and_whose_worker_died_first(
    world, trigger, lane
):
    async def body(world):
        await world.lost(WHOLE_LOAD, trigger)
        await world.state.ledger.mark_pending(USERS[:1], trigger)
        await world.state.ledger.claim(USERS[:1], "dead", 0.001)
        await asyncio.sleep(0.01)
        await world.client.rpush(f"dramatiq:{lane}", "a message")
        await world.sweeper.sweep()
        assert world.sent.users[0] == USERS[0]
        assert len(world.sent.users) == 1_000

    world(body)


def test_where_no_worker_takes_messages_they_do_not_fill_redis(world):
    async def body(world):
        await world.lost(WHOLE_LOAD, Trigger.SCHEDULED)
        await world.client.rpush(f"dramatiq:{BULK}", *["a message"] * 120)
        await world.sweeper.sweep()
        assert world.sent.users == []
        await world.client.ltrim(f"dramatiq:{BULK}", 0, 50)
        await world.lost(WHOLE_LOAD, Trigger.SCHEDULED)
        await world.sweeper.sweep()
        assert len(world.sent.users) == 1_000

    world(body)


@pytest.mark.parametrize(("trigger", "lane"), [(Trigger.SCHEDULED, BULK), (Trigger.AUTOMATIC, INTERACTIVE)])
def test_whose_worker_died_is_sent_again_however_many_messages_wait(world, trigger, lane):
    """At a slow target each message of a load becomes twenty, and all of them are there for somebody."""

    async def body(world):
        await world.lost(WHOLE_LOAD, trigger)
        await world.state.ledger.mark_pending(USERS[:1], trigger)
        await world.state.ledger.claim(USERS[:1], "dead", 0.001)
        await asyncio.sleep(0.01)
        await world.client.rpush(f"dramatiq:{lane}", *["a message"] * 200)
        await world.sweeper.sweep()
        assert world.sent.users == [USERS[0]]
        await world.sweeper.sweep()
        assert world.sent.users == [USERS[0]]

    world(body)


def test_whoever_a_full_sync_waits_for_is_urgent_once_changed_in_drupal(world):
    async def body(world):
        await world.lost(USERS[:1], Trigger.SCHEDULED)
        await world.lost(USERS[:1], Trigger.AUTOMATIC)
        assert await world.state.ledger.sweep(BULK) == ()
        assert await world.state.ledger.sweep(INTERACTIVE) == (USERS[0],)
        assert len(await world.state.ledger.claim(USERS[:1], "w", 60.0)) == 1
        assert not await world.client.exists("scimpipe:{acme}:due", "scimpipe:{acme}:urgent")

    world(body)


@pytest.mark.parametrize(("trigger", "lane"), [(Trigger.SCHEDULED, BULK), (Trigger.AUTOMATIC, INTERACTIVE)])
def test_whoever_is_submitted_again_while_their_message_waits_is_not_sent_another(world, trigger, lane):
    async def body(world):
        for _ in range(2):
            await world.state.ledger.mark_pending(USERS[:1], trigger)
        assert await world.state.ledger.sweep(lane) == ()

    world(body)


@pytest.mark.parametrize(("trigger", "lane"), [(Trigger.SCHEDULED, BULK), (Trigger.AUTOMATIC, INTERACTIVE)])
def test_when_the_clock_of_redis_is_set_back_nobody_waits_that_much_longer(world, trigger, lane):
    async def body(world):
        ledger, name = world.state.ledger, "due" if lane == BULK else "urgent"
        await ledger.mark_pending(USERS[:1], trigger)
        # As if all of it had been an hour ahead.
        now = (await world.client.time())[0] * 1000
        await world.client.set("scimpipe:{acme}:clock", now + HOUR_MS)
        await world.client.zadd(f"scimpipe:{{acme}}:{name}", {USERS[0]: now + HOUR_MS})
        await ledger.sweep(lane)
        assert await world.client.zscore(f"scimpipe:{{acme}}:{name}", USERS[0]) < now + 60_000

    world(body)


def test_when_the_clock_of_redis_is_set_back_a_quarantined_target_is_probed_all_the_same(world):
    async def body(world):
        await world.state.gate.failed("401", certain=True)
        assert not await world.state.gate.probe_due()
        # As if it had been quarantined an hour ahead.
        ahead = (await world.client.time())[0] * 1000 + HOUR_MS
        await world.client.hset("scimpipe:{acme}:gate", "probe_at", ahead)
        await world.sweeper.sweep()
        assert (await world.state.gate.health()).open

    world(body)


def test_when_the_clock_of_redis_is_set_back_while_a_target_is_paused_nobody_waits_that_much_longer(world):
    async def body(world):
        # Nobody but whoever submits looks at the clock then.
        ledger = world.state.ledger
        await ledger.mark_pending(USERS[:1], Trigger.SCHEDULED)
        # As if that had been an hour ahead.
        job = json.loads(await world.client.hget("scimpipe:{acme}:jobs", USERS[0]))
        ahead = json.dumps({**job, "n": job["n"] + HOUR_MS})
        await world.client.hset("scimpipe:{acme}:jobs", USERS[0], ahead)
        await world.client.incrby("scimpipe:{acme}:clock", HOUR_MS)
        assert len(await ledger.claim(USERS[:1], "w", 60.0)) == 1

    world(body)


class Opened:
    """Of what a scheduler works with, only what sweeps need."""

    def __init__(self, client: object) -> None:
        self.redis, self.owner, self.reader = client, "here", None
        self.source_gate = Gate(client, SOURCE)
        self.settings = SimpleNamespace(targets=dict.fromkeys(("silent", "failing", "well")))
        self.swept, self.announced = asyncio.Event(), Announced()

    def sweeper(self, name: str) -> SimpleNamespace:
        async def sweep() -> None:
            if name == "silent":
                await asyncio.Event().wait()
            if name == "failing":
                raise ConnectionError
            self.swept.set()

        return SimpleNamespace(sweep=sweep)


def test_a_target_that_does_not_answer_keeps_no_other_from_being_swept(redis_url, monkeypatch):
    monkeypatch.setattr(schedule, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(schedule, "cron_of", lambda settings: None)

    async def body(client):
        opened = Opened(client)
        running = asyncio.create_task(schedule.Scheduler(opened, structlog.get_logger()).run())
        for _ in range(2):
            await asyncio.wait_for(opened.swept.wait(), 10)
            opened.swept.clear()
        running.cancel()

    with_redis(redis_url, body)

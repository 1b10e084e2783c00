"""Batches on a real Valkey with a target in memory: outages spend no attempt, one bad user harms no other."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from config.settings import Trigger
from provisioning.errors import (
    AmbiguousWrite,
    Permanent,
    SourceIdentityLost,
    SourceUnreadable,
    Throttled,
    Transient,
    Unanswered,
    Unauthorized,
)
from state.gate import FAILURES, Gate
from state.keys import SOURCE
from state.ledger import BULK, INTERACTIVE
from tests.support.batches import USERS, World
from tests.support.valkey import with_redis
from workers.portion import SECONDS


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


def test_each_user_succeeds_or_fails_alone(world):
    async def body(world):
        world.site.edit(USERS[3], name=" ")
        errors = iter([Permanent("400", status_code=400)])
        world.target.before = lambda verb: next(errors, None) if verb == "create" else None
        await world.submit()
        await world.batch.run(USERS, "interactive")
        letters = await world.state.ledger.dead_letters()
        assert len(letters) == 2
        assert len(world.target.accounts) == 8
        counts = await world.state.ledger.counts()
        assert (counts.pending, counts.running) == (0, 0)

    world(body)


def test_a_user_who_has_to_wait_comes_back_in_a_message_of_its_own(world):
    async def body(world):
        errors = iter([Transient("500", status_code=500)])
        world.target.before = lambda verb: next(errors, None) if verb == "create" else None
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert len(world.target.accounts) == 9
        ((users, delay),) = world.sent.messages
        assert len(users) == 1
        assert delay == 1500

    world(body)


def test_a_rejected_token_quarantines_and_costs_nobody_an_attempt(world):
    async def body(world):
        world.target.before = lambda verb: Unauthorized("401", status_code=401)
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert (await world.state.gate.health()).state == "quarantined"
        assert (await world.state.ledger.counts()).pending == 10
        requests = len(world.target.requests)
        await world.batch.run(USERS, "interactive")
        assert len(world.target.requests) == requests
        assert await world.state.ledger.dead_letters() == ()
        assert await world.attempts() == {1}

    world(body)


def test_401_to_writes_that_is_not_answered_to_reads_closes_the_target_for_nobody(world):
    async def body(world):
        refused = iter([Unauthorized("401", status_code=401)])
        world.target.before = lambda verb: next(refused, None) if verb == "create" else None
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert (await world.state.gate.health()).open
        assert len(world.target.accounts) == len(USERS) - 1
        assert (await world.state.ledger.counts()).pending == 1
        assert await world.state.ledger.dead_letters() == ()

    world(body)


@pytest.mark.parametrize(
    "silence", [Unanswered("no answer"), AmbiguousWrite("no answer")], ids=["reads", "writes"]
)
def test_a_target_that_answers_nobody_is_quarantined_and_nobody_becomes_a_dead_letter(world, silence):
    """It takes connections, and says nothing: each request lasts as long as limits.timeout_seconds allows. Whose failure closes it
    has only read, too, but does not go back untold.
    """

    async def body(world):
        world.target.before = lambda verb: silence
        await world.submit()
        with capture_logs() as logs:
            await world.batch.run(USERS, INTERACTIVE)
        assert len([each for each in logs if each.get("outcome") == "pending"]) >= FAILURES
        assert (await world.state.gate.health()).state == "quarantined"
        assert await world.state.ledger.dead_letters() == ()
        assert (await world.state.ledger.counts()).pending == len(USERS)

    world(body)


def test_answers_that_are_lost_now_and_then_close_the_target_for_nobody(world):
    async def body(world):
        for number in range(6):
            lost = iter([AmbiguousWrite("no answer")])
            world.target.before = lambda verb, lost=lost: (
                next(lost, None) if verb in {"create", "update"} else None
            )
            for user in USERS:
                world.site.edit(user, name=f"{user}-{number}")
            await world.submit()
            await world.another_batch().run(USERS, INTERACTIVE)
        assert (await world.state.gate.health()).open

    world(body)


@pytest.mark.parametrize("lane", [INTERACTIVE, BULK])
def test_while_the_gate_is_closed_a_message_is_let_go_and_its_users_stay_pending(world, lane):
    async def body(world):
        await world.submit()
        await world.state.gate.failed("down", certain=True)
        await world.batch.run(USERS, lane)
        await world.state.gate.resume()
        await world.state.gate.pause()
        await world.batch.run(USERS, lane)
        assert (world.target.requests, world.sent.messages) == ([], [])
        assert sorted(await world.state.ledger.sweep(INTERACTIVE)) == USERS
        assert await world.attempts() == {1}

    world(body)


class LookUps:
    """Counts how often the listing would be read."""

    lack_census = True
    taken = 0

    async def take_census(self, unlinked: int) -> None:
        self.taken += 1


def test_one_listing_answers_for_many_who_had_no_account_and_are_to_get_one(world):
    """Registered and approved later; or given the role that scope asks for."""

    async def body(world):
        look_ups = world.target.look_ups = LookUps()
        for status, taken in ((False, 1), (False, 1), (True, 2), (True, 2)):
            for user in USERS:
                world.site.edit(user, status=status)
            await world.submit()
            await world.batch.run(USERS, BULK)
            assert look_ups.taken == taken
        assert len(world.target.accounts) == len(USERS)

    world(body)


def test_being_throttled_closes_the_gate_for_everybody_and_costs_no_attempt(world):
    async def body(world):
        world.target.before = lambda verb: Throttled("429", status_code=429, retry_after_seconds=60)
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert (await world.state.gate.health()).throttled_seconds > 50
        world.target.requests.clear()
        await world.batch.run(USERS, "interactive")
        assert world.target.requests == []
        assert world.sent.messages[-1][1] > 50_000
        assert await world.attempts() == {1}

    world(body)


def test_a_short_wait_sends_back_only_whoever_was_told_to(world):
    async def body(world):
        errors = iter([Throttled("429", status_code=429, retry_after_seconds=1)])
        world.target.before = lambda verb: next(errors, None) if verb == "create" else None
        await world.submit()
        await world.batch.run(USERS, "interactive")
        # The target in memory has no throttle: the others would have waited there.
        assert len(world.target.accounts) == 9
        assert [(len(users), delay) for users, delay in world.sent.messages] == [(1, 1000)]
        assert (await world.state.gate.health()).throttled_seconds > 0
        # A message that comes while the gate is closed for a moment waits there, too.
        await world.batch.run(USERS, "interactive")
        assert [delay for _, delay in world.sent.messages] == [1000]
        assert await world.attempts() == {1}

    world(body)


def test_after_a_long_wait_whoever_has_sent_nothing_goes_back_in_one_message(world):
    async def body(world):
        world.target.before = lambda verb: Throttled("429", status_code=429, retry_after_seconds=60)
        await world.submit()
        await world.batch.run(USERS, "interactive")
        ((users, delay),) = world.sent.messages
        assert sorted(users) == sorted(USERS)
        assert delay == 60_000

    world(body)


@pytest.mark.parametrize("error", [SourceUnreadable("down"), SourceIdentityLost("anonymous")])
def test_an_unreadable_source_plans_nothing_and_costs_no_attempt(world, error):
    async def body(world):
        await world.submit()
        await world.batch.run(USERS, "interactive")
        world.site.broken = error
        await world.submit()
        world.target.requests.clear()
        await world.batch.run(USERS, "interactive")
        assert world.target.requests == []
        assert (await world.state.ledger.counts()).pending == 10
        assert (await world.source_gate.health()).open is not isinstance(error, SourceIdentityLost)
        world.site.broken = None
        assert await world.attempts() == {1}

    world(body)


def test_one_user_who_cannot_be_read_keeps_nobody_else_of_the_message_waiting_and_the_reason_is_told(world):
    """As one whose row in users_field_data is missing; the poll of change detection reads nobody whole, and goes well."""
    damaged = SourceUnreadable("user 7 has no row; the site's data is damaged", retry_after_seconds=0.01)

    async def body(world):
        read = world.site.read

        async def read_all_or_none(ids):
            if USERS[6] in ids:
                raise damaged
            return await read(ids)

        world.site.read = read_all_or_none
        await world.state.submit(USERS, Trigger.MANUAL)
        with capture_logs() as logs:
            for _ in range(20):
                for users, _ in [*world.sent.messages]:
                    del world.sent.messages[0]
                    await world.another_batch().run(users, INTERACTIVE)
                await asyncio.sleep(0.02)
                # As the sweeper does: whoever is pending, all in one message; and as change detection does after a poll.
                await world.state.resend()
                await Gate(world.client, SOURCE).worked()
        assert len(world.target.accounts) == len(USERS) - 1
        assert (await world.source_gate.health()).open
        assert await world.attempts() == {1}
        told = [line for line in logs if line["event"] == "source_unreadable"]
        assert {line["reason"] for line in told} == {damaged.detail}
        assert told[-1]["user"] == USERS[6]

    world(body)


def test_a_defect_of_ours_becomes_a_dead_letter_after_all_attempts_and_harms_nobody_else(world):
    async def body(world):
        def defect(verb):
            if verb == "create" and not world.target.accounts:
                raise KeyError("canary-value")

        world.target.before = defect
        await world.submit()
        for _ in range(4):
            await world.batch.run(USERS[:1], "interactive")
            await world.state.ledger.mark_pending([], Trigger.MANUAL)
            await asyncio.sleep(0)
        (_, delay), *_ = world.sent.messages
        assert delay > 0
        assert "canary" not in str(await world.state.ledger.dead_letters())

    world(body)


def test_of_a_message_that_is_too_much_at_once_the_rest_goes_on_to_whoever_is_free(world):
    async def body(world):
        world.portion.size = 4
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert len(world.target.accounts) == 4
        assert [len(users) for users, _ in world.sent.messages] == [4, 2]
        for users, delay in list(world.sent.messages):
            assert delay is None
            await world.batch.run(users, "interactive")
        assert len(world.target.accounts) == 10

    world(body)


def test_a_portion_that_takes_long_is_a_smaller_one_the_next_time(world):
    async def body(world):
        many = [f"0f000000-0000-4000-8000-{number:012d}" for number in range(60)]
        for number, user in enumerate(many):
            world.site.add(user, name=f"other{number}")
        world.portion.size = 100
        create = world.target.create

        async def slow(resource):
            await asyncio.sleep(1.3 * SECONDS)
            return await create(resource)

        world.target.create = slow
        await world.state.submit(many, Trigger.MANUAL)
        await world.batch.run(many, "interactive")
        assert world.portion.size == 50

    world(body)


def test_users_who_were_handed_back_make_no_portion_larger(world):
    async def body(world):
        world.target.before = lambda verb: Unauthorized("401", status_code=401)
        world.portion.size = 12
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert (await world.state.ledger.counts()).pending == 10
        assert world.portion.size == 12

    world(body)


def test_a_paused_target_is_left_alone_and_its_users_stay_pending(world):
    async def body(world):
        await world.state.gate.pause()
        await world.submit()
        await world.batch.run(USERS, "interactive")
        assert world.target.requests == []
        assert (await world.state.ledger.counts()).pending == 10

    world(body)

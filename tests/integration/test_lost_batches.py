"""Batches on a real Valkey whose worker is told to end, dies, or has lost a user to another message."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import Trigger
from provisioning.errors import AmbiguousWrite
from scim.transport import SENT
from state import ledger
from state.ledger import INTERACTIVE
from tests.support.batches import USERS, World
from tests.support.valkey import with_redis
from workers import batch


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


def test_a_worker_that_is_told_to_stop_hands_back_what_it_has_not_begun(world):
    async def body(world):
        await world.submit()
        world.stopping.set()
        await world.batch.run(USERS, "interactive")
        counts = await world.state.ledger.counts()
        assert (counts.pending, counts.running, counts.failed) == (10, 0, 0)
        assert world.target.accounts == {}
        assert await world.attempts() == {1}

    world(body)


def test_a_worker_that_is_told_to_stop_hands_back_what_does_not_end(world, monkeypatch):
    monkeypatch.setattr(batch, "FINISH_SECONDS", 0.2)
    monkeypatch.setattr(ledger, "LATE_MS", 500)

    async def body(world):
        others_done = asyncio.Event()
        create = world.target.create

        async def create_or_hang(resource):
            SENT.get().append("POST")
            if resource["userName"] in {"user3", "user4"}:
                await asyncio.Event().wait()
            account = await create(resource)
            if len(world.target.accounts) == 8:
                others_done.set()
            return account

        world.target.create = create_or_hang
        await world.submit()
        run = asyncio.create_task(world.batch.run(USERS, "interactive"))
        await others_done.wait()
        world.stopping.set()
        await asyncio.wait_for(run, 3)
        counts = await world.state.ledger.counts()
        assert (counts.pending, counts.running, counts.failed) == (2, 0, 0)
        links = await world.state.links.get_many([USERS[3]])
        assert links[USERS[3]].in_doubt
        world.target.create = create
        world.stopping.clear()
        # What was sent may still be carried out.
        await world.batch.run(USERS, "interactive")
        assert len(world.target.accounts) == 8
        await asyncio.sleep(0.5)
        await world.batch.run(USERS, "interactive")
        assert len(world.target.accounts) == 10

    world(body)


def test_a_message_that_has_lost_a_user_takes_nothing_from_the_next_one_in_the_same_process(world):
    """As after half a minute without Redis: meanwhile the user was blocked, and given to another message."""

    async def body(world):
        began, go_on = asyncio.Event(), asyncio.Event()
        create = world.target.create

        async def create_slowly(resource):
            began.set()
            await go_on.wait()
            return await create(resource)

        world.target.create = create_slowly
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        first = asyncio.create_task(world.batch.run(USERS[:1], INTERACTIVE))
        await began.wait()
        await world.client.zadd("scimpipe:{acme}:leases", {USERS[0]: 1})
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        await world.state.ledger.sweep(INTERACTIVE)
        next_began, next_goes_on = world.hold_the_source()
        second = asyncio.create_task(world.another_batch().run(USERS[:1], INTERACTIVE))
        await next_began.wait()
        go_on.set()
        await first
        assert (await world.state.ledger.counts()).running == 1
        next_goes_on.set()
        await second
        assert await world.state.ledger.states(USERS[:1]) == {}
        assert len(world.target.accounts) == 1

    world(body)


def test_an_answer_that_comes_after_the_lease_has_gone_undoes_nothing_that_was_learned_since(world):
    """A machine that was cut off comes back, with the answer to a create. Meanwhile another worker has found the account, and has
    had no answer to an update: were it forgotten that this one is in doubt, the account would stay as it is.
    """

    async def body(world):
        made, answered = asyncio.Event(), asyncio.Event()
        create = world.target.create

        async def create_with_a_late_answer(resource):
            account = await create(resource)
            made.set()
            await answered.wait()
            return account

        world.target.create = create_with_a_late_answer
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        cut_off = asyncio.create_task(world.batch.run(USERS[:1], INTERACTIVE))
        await made.wait()
        await world.client.zadd("scimpipe:{acme}:leases", {USERS[0]: 1})
        await world.state.ledger.sweep(INTERACTIVE)
        await world.another_batch().run(USERS[:1], INTERACTIVE)
        world.target.before = lambda verb: AmbiguousWrite("no answer") if verb == "update" else None
        world.site.edit(USERS[0], name="renamed")
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        await world.another_batch().run(USERS[:1], INTERACTIVE)
        answered.set()
        await cut_off
        assert (await world.state.links.get_many(USERS[:1]))[USERS[0]].in_doubt

    world(body)


async def update_without_a_lease(world, name):
    """The batch that renames the first user, who by now may be another's, and the event upon which the target carries it out."""
    sent, late = asyncio.Event(), asyncio.Event()
    update = world.target.update

    async def update_late(scim_id, changes, desired, version):
        SENT.get().append("PATCH")
        sent.set()
        await late.wait()
        return await update(scim_id, changes, desired, None)

    world.target.update = update_late
    world.site.edit(USERS[0], name=name)
    await world.state.submit(USERS[:1], Trigger.MANUAL)
    cut_off = asyncio.create_task(world.another_batch().run(USERS[:1], INTERACTIVE))
    await sent.wait()
    world.target.update = update
    await world.client.zadd("scimpipe:{acme}:leases", {USERS[0]: 1})
    await world.state.ledger.sweep(INTERACTIVE)
    return cut_off, late


def test_what_a_worker_has_changed_after_its_lease_had_gone_is_put_right(world):
    """A slow target carries an update out when somebody else has carried out the next one already."""

    async def body(world):
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        await world.batch.run(USERS[:1], INTERACTIVE)
        cut_off, late = await update_without_a_lease(world, "first")
        world.site.edit(USERS[0], name="second")
        await world.another_batch().run(USERS[:1], INTERACTIVE)
        late.set()
        await cut_off
        (account,) = world.target.accounts.values()
        assert account["userName"] == "first"
        await world.another_batch().run(USERS[:1], INTERACTIVE)
        (account,) = world.target.accounts.values()
        assert account["userName"] == "second"

    world(body)


def test_a_worker_that_is_to_end_remembers_what_it_has_changed_after_its_lease_had_gone(world):
    """It waits for the worker that has the user now, but not as long as that one may take."""

    async def body(world):
        await world.state.submit(USERS[:1], Trigger.MANUAL)
        await world.batch.run(USERS[:1], INTERACTIVE)
        known = await world.state.links.get_many(USERS[:1])
        cut_off, late = await update_without_a_lease(world, "renamed")
        assert len(await world.state.ledger.claim(USERS[:1], "another", 60)) == 1
        assert await world.state.links.put(USERS[0], known[USERS[0]], holder="another")
        world.stopping.set()
        late.set()
        await cut_off
        assert (await world.state.links.get_many(USERS[:1]))[USERS[0]].in_doubt

    world(body)


def test_a_user_over_whom_workers_die_becomes_a_dead_letter(world):
    async def body(world):
        await world.submit()
        for _ in range(3):
            assert len(await world.state.ledger.claim(USERS[:1], "dead", 0.001)) == 1
            await asyncio.sleep(0.01)
            await world.state.ledger.sweep(INTERACTIVE)
        await world.batch.run(USERS, "interactive")
        (letter,) = await world.state.ledger.dead_letters()
        assert letter.user == USERS[0]
        assert "the worker ended before it was done" in letter.detail
        assert len(world.target.accounts) == 9

    world(body)

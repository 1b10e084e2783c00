"""Leavers whom nobody removes, what a person has said of them, and the full syncs that follow; on a real Valkey, with a site in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.settings import LeaverSettings, OperationName, Trigger
from provisioning.diff import digest
from provisioning.model import Job, OutcomeName, Presence, Removal
from tests.support.ledger import result
from tests.support.producing import KEY, USERS, World
from tests.support.valkey import with_redis

REMOVAL = Removal(OperationName.DEACTIVATE, "id-1")


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


async def rejected(world, users):
    for user in users:
        entry = {"target": "acme", "operation": REMOVAL.operation}
        assert await world.state.ledger.hold(user, entry, Trigger.SCHEDULED)
    assert await world.state.ledger.reject(users) == len(users)


def test_a_rejection_ends_when_its_user_qualifies_again_though_nothing_else_has_changed(world):
    """As after a mistake in scope that was put right: whoever leaves later would keep the account, and nobody be asked."""

    async def body(world):
        await world.link_all()
        await rejected(world, [USERS[4]])
        await world.run_sync()
        for job in await world.state.ledger.claim(USERS, "w", 30):
            await world.state.ledger.settle(job, "w", result(job, OutcomeName.UNCHANGED))
        world.site.edit(USERS[4], status=False)
        await world.run_sync()
        (job,) = await world.state.ledger.claim(USERS, "w", 30)
        assert await world.state.guard.take(job, REMOVAL) is None

    world(body)


def test_nobody_is_rejected_who_was_settled_while_the_list_was_read(world):
    """A mistake in scope that was put right: whoever left later would keep the account, and nobody be asked."""

    async def body(world):
        client = world.state.client
        entry = {"target": "acme", "operation": REMOVAL.operation}
        await world.state.ledger.hold(USERS[4], entry, Trigger.SCHEDULED)
        hgetall = client.hgetall

        async def and_then(name):
            found = await hgetall(name)
            await client.delete("scimpipe:{acme}:held")
            return found

        client.hgetall = and_then
        assert await world.state.ledger.reject([USERS[4]]) == 0
        assert await world.state.guard.rejected({USERS[4]: REMOVAL}) == frozenset()

    world(body)


def test_whoever_was_rejected_is_no_removal_of_the_syncs_that_follow(world):
    """Else whoever else leaves would be held with them, each time."""

    async def body(world):
        await world.link_all()
        for user in USERS[:6]:
            world.site.edit(user, status=False)
        await rejected(world, USERS[:6])
        world.site.edit(USERS[7], status=False)
        await world.run_sync()
        jobs = {job.user: job for job in await world.state.ledger.claim(USERS, "w", 30)}
        assert (await world.state.guard.take(jobs[USERS[0]], REMOVAL)).rejected
        assert await world.state.guard.take(jobs[USERS[7]], REMOVAL) is None

    world(body)


def test_leavers_whom_the_scheduled_trigger_may_not_remove_are_no_removals_of_a_full_sync(world):
    """Whoever is deleted by hand alone, as scimpipe.example.toml has it, is found by each sync from then on."""

    async def body(world):
        await world.link_all()
        compiled = replace(world.compiled, leavers=LeaverSettings(deleted="delete"))
        allowed = frozenset({OperationName.CREATE, OperationName.UPDATE, OperationName.DEACTIVATE})
        world.sync = replace(world.sync, compiled=compiled, allowed=allowed)
        for user in USERS[:6]:
            world.site.delete(user)
        world.site.edit(USERS[7], status=False)
        await world.run_sync()
        jobs = {job.user: job for job in await world.state.ledger.claim(USERS, "w", 30)}
        assert {*USERS[:6], USERS[7]} <= jobs.keys()
        assert await world.state.guard.take(jobs[USERS[7]], REMOVAL) is None

    world(body)


def test_whoever_was_deactivated_before_is_no_removal_of_the_poll_that_finds_them_deleted(world):
    """Former users are deleted many at once; one among them who was active still would be held with them."""

    async def body(world):
        await world.link_all()
        await world.poll()
        for user, link in (await world.state.links.get_many(USERS[:6])).items():
            left = {**link.digests, "active": digest(False, KEY)}
            await world.state.links.put(user, link._replace(digests=left, active=False))
        for user in USERS[:7]:
            world.site.delete(user)
        assert (await world.poll()).gone == tuple(USERS[:7])
        jobs = {job.user: job for job in await world.state.ledger.claim(USERS, "w", 30)}
        assert await world.state.guard.take(jobs[USERS[6]], REMOVAL) is None

    world(body)


def removal(leaving: Presence, operation: OperationName = OperationName.DEACTIVATE) -> Removal:
    return Removal(operation, "id-1", leaving=leaving)


async def held(world, leaving: Presence) -> None:
    """A removal of one user, over the budget of an hour that is over by now."""
    ledger = world.state.ledger
    await ledger.mark_pending(USERS[:1], Trigger.SCHEDULED)
    (job,) = await ledger.claim(USERS[:1], "w", 30)
    known = {
        "operation": OperationName.DEACTIVATE,
        "scim_id": "id-1",
        "leaving": leaving,
        "detail": "too many",
    }
    await ledger.settle(job, "w", result(job, OutcomeName.HELD, **known))


def job(trigger: Trigger = Trigger.SCHEDULED) -> Job:
    return Job("acme", USERS[0], {trigger: None}, 1)


def test_what_is_held_waits_for_a_person_however_many_hours_pass(world):
    """A mistake beyond the hour's budget would be carried out in the hours that follow, a budget at a time."""

    async def body(world):
        await world.link_all()
        await held(world, Presence.OUT_OF_SCOPE)
        guard = world.state.guard
        assert (await guard.take(job(), removal(Presence.OUT_OF_SCOPE))).reason == "too many"
        # By a person's own hand, or when they leave in another way, it is another matter.
        assert await guard.take(job(Trigger.MANUAL), removal(Presence.OUT_OF_SCOPE)) is None
        assert await guard.take(job(), removal(Presence.BLOCKED)) is None
        await world.state.ledger.approve(USERS[:1])
        (approved,) = await world.state.ledger.claim(USERS[:1], "w", 30)
        assert await guard.take(approved, removal(Presence.OUT_OF_SCOPE)) is None

    world(body)


def test_whoever_may_stay_without_a_role_is_asked_about_again_when_blocked(world):
    async def body(world):
        await world.link_all()
        await held(world, Presence.OUT_OF_SCOPE)
        (entry,) = await world.state.ledger.held()
        assert entry.leaving == Presence.OUT_OF_SCOPE
        assert await world.state.ledger.reject(USERS[:1]) == 1
        guard = world.state.guard
        assert (await guard.take(job(), removal(Presence.OUT_OF_SCOPE))).rejected
        assert await guard.take(job(), removal(Presence.BLOCKED)) is None
        users = {USERS[0]: removal(Presence.OUT_OF_SCOPE), USERS[1]: removal(Presence.OUT_OF_SCOPE)}
        assert await guard.rejected(users) == {USERS[0]}
        assert await guard.rejected({USERS[0]: removal(Presence.BLOCKED)}) == set()

    world(body)


@pytest.mark.parametrize("left", [False, True])
def test_being_left_alone_for_a_while_ends_no_rejection(world, left):
    """As with `keep` as the policy for one full sync: afterwards the account would be removed, and nobody be asked."""

    async def body(world):
        await rejected(world, [USERS[4]])
        await world.state.submit([USERS[4]], Trigger.SCHEDULED)
        (job,) = await world.state.ledger.claim([USERS[4]], "w", 30)
        kept = result(job, OutcomeName.UNCHANGED)._replace(leaving=Presence.OUT_OF_SCOPE if left else None)
        await world.state.ledger.settle(job, "w", kept)
        assert await world.state.guard.rejected({USERS[4]: REMOVAL}) == ({USERS[4]} if left else set())

    world(body)


def test_whoever_approved_a_deactivation_has_approved_no_deletion(world):
    """`leavers` may have been edited between."""

    async def body(world):
        await world.link_all()
        entry = {"target": "acme", "operation": REMOVAL.operation, "scim_id": "id-1"}
        await world.state.ledger.hold(USERS[4], entry, Trigger.SCHEDULED)
        await world.state.ledger.approve([USERS[4]])
        (job,) = await world.state.ledger.claim(USERS, "w", 30)
        assert await world.state.guard.take(job, REMOVAL) is None
        withheld = await world.state.guard.take(job, replace(REMOVAL, operation=OperationName.DELETE))
        assert "deactivate of account id-1 was approved" in withheld.reason
        assert not withheld.rejected

    world(body)


def test_an_orphan_is_held_as_what_would_become_of_it_now(world):
    async def body(world):
        for operation in (OperationName.DEACTIVATE, OperationName.DELETE):
            entry = {"target": "acme", "operation": operation, "scim_id": "id-1"}
            assert await world.state.ledger.hold("orphan", entry, Trigger.MANUAL)
        assert [each.operation for each in await world.state.ledger.held()] == [OperationName.DELETE]

    world(body)

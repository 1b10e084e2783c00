"""Leavers whom nobody removes, and the full syncs that follow; on a real Valkey, with a site in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.settings import LeaverSettings, OperationName, Trigger
from provisioning.diff import digest
from provisioning.model import OutcomeName, Removal
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

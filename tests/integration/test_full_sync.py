"""Full syncs on a real Valkey, with a site in memory: who is submitted, and what is held."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from config.settings import (
    LeaverSettings,
    OperationName,
    Trigger,
)
from producers import full_sync
from provisioning.diff import digest
from provisioning.errors import SourceUnreadable
from provisioning.model import Removal
from state import runs
from state.runs import ScannerLostError
from tests.support.fakes import FakeSite
from tests.support.producing import KEY, USERS, World
from tests.support.valkey import with_redis


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


def test_only_who_differs_is_submitted(world):
    async def body(world):
        await world.link_all()
        world.edit(USERS[4], 1, name="renamed")
        run = await world.run_sync()
        assert world.sent.users == [USERS[4]]
        assert (run.counters["scanned"], run.counters["unchanged"]) == (20, 19)

    world(body)


def test_whoever_waits_for_a_person_is_looked_at_again_though_nothing_changed(world):
    async def body(world):
        await world.link_all()
        await world.state.ledger.hold(USERS[4], {"operation": "delete"}, Trigger.SCHEDULED)
        run = await world.run_sync()
        assert world.sent.users == [USERS[4]]
        assert (run.counters["scanned"], run.counters["unchanged"]) == (20, 19)

    world(body)


def test_a_sync_in_which_nothing_changed_is_done_at_once(world):
    async def body(world):
        await world.link_all()
        run = await world.run_sync()
        assert run.finished_at is not None
        assert run.outcome == "done"

    world(body)


def test_linked_users_who_are_not_listed_are_submitted_and_nothing_more(world):
    async def body(world):
        await world.link_all()
        world.site.delete(USERS[5])
        await world.run_sync()
        assert world.sent.users == [USERS[5]]

    world(body)


@pytest.mark.parametrize("how", ["deleted", "blocked", "out of scope"])
def test_a_sync_that_would_remove_more_than_the_budget_removes_nobody(world, how):
    async def body(world):
        await world.link_all()
        for user in USERS[:6]:
            if how == "deleted":
                world.site.delete(user)
            elif how == "blocked":
                world.site.edit(user, status=False)
            else:
                world.site.edit(user, roles=["left"])
        run = await world.run_sync()
        jobs = await world.state.ledger.claim(USERS, "w", 30)
        assert len(jobs) == 6
        for job in jobs:
            assert job.run_id == run.run_id
            withheld = await world.state.guard.take(job, Removal(OperationName.DEACTIVATE, "id-1"))
            assert "6 removals at once" in withheld.reason

    world(body)


def with_leavers(world, **policies):
    compiled = replace(world.compiled, leavers=LeaverSettings(**policies))
    world.sync = replace(world.sync, compiled=compiled)


def test_deletions_of_accounts_that_are_inactive_are_removals_too(world):
    """As after `leavers.blocked` was edited: the run would delete up to the hour's budget, and that cannot be undone."""

    async def body(world):
        await world.link_all()
        with_leavers(world, blocked="delete")
        links = await world.state.links.get_many(USERS[:6])
        for user, link in links.items():
            world.site.edit(user, status=False)
            left = {**link.digests, "active": digest(False, KEY)}
            await world.state.links.put(user, link._replace(digests=left, active=False))
        run = await world.run_sync()
        (job,) = await world.state.ledger.claim(USERS[:1], "w", 30)
        assert job.run_id == run.run_id
        withheld = await world.state.guard.take(job, Removal(OperationName.DELETE, "id-1"))
        assert "6 removals at once" in withheld.reason

    world(body)


def test_leavers_who_keep_their_account_are_no_removals(world):
    """Else whoever else leaves would be held with them."""

    async def body(world):
        await world.link_all()
        with_leavers(world, blocked="keep")
        for user in USERS[:6]:
            world.site.edit(user, status=False)
        world.site.delete(USERS[7])
        await world.run_sync()
        (job,) = await world.state.ledger.claim([USERS[7]], "w", 30)
        assert await world.state.guard.take(job, Removal(OperationName.DEACTIVATE, "id-1")) is None

    world(body)


def test_a_sync_that_would_take_an_attribute_from_more_than_the_share_takes_it_from_nobody(world):
    async def body(world):
        await world.link_all()
        for user in USERS[:6]:
            world.site.edit(user, mail=None)
        world.site.edit(USERS[7], name="other")
        run = await world.run_sync()
        jobs = {job.user: job for job in await world.state.ledger.claim(USERS, "w", 30)}
        assert set(jobs) == {*USERS[:6], USERS[7]}
        for user in USERS[:6]:
            assert jobs[user].run_id == run.run_id
            removal = Removal(OperationName.UPDATE, "id-1", frozenset({"title"}))
            assert "would lose title at once" in (await world.state.guard.take(jobs[user], removal)).reason

    world(body)


def test_a_scan_that_failed_goes_on_where_it_stopped_and_forgets_no_leaver(world):
    async def body(world):
        await world.link_all()
        world.site.edit(USERS[0], status=False)
        run_id, kind = await world.sync.start("scheduled")
        await world.state.runs.advance(run_id, "owner", 10, scanned=10)
        await world.state.runs.stop_scanning(run_id, "owner")
        again, kind = await world.sync.start("scheduled")
        assert (again, kind) == (run_id, "resume")
        await world.sync.scan(run_id, kind)
        assert world.sent.users == [USERS[0]]

    world(body)


def test_a_scan_that_was_begun_by_another_config_is_another_ones(world):
    """Whoever it has compared before the restart has to be compared again; and what it found too many of may be few now."""

    async def body(world):
        await world.link_all()
        old, _ = await world.state.runs.start("owner", "scheduled", "another scope")
        await world.state.guard.close_run(old, len(USERS))
        await world.state.submit([USERS[1]], Trigger.SCHEDULED, run_id=old)
        await world.state.runs.advance(old, "owner", 5, scanned=5, unchanged=5)
        await world.state.runs.stop_scanning(old, "owner")
        world.sent.messages.clear()
        world.site.edit(USERS[0], status=False)
        run = await world.run_sync()
        assert (run.run_id != old, run.counters["scanned"], run.error) == (True, len(USERS), "")
        assert world.sent.users == [USERS[0]]
        jobs = {job.user: job for job in await world.state.ledger.claim(USERS, "w", 30)}
        assert await world.state.guard.take(jobs[USERS[0]], Removal(OperationName.DEACTIVATE, "id-1")) is None
        # Who was found by the old one may be meant for a worker that has not been restarted.
        assert await world.state.guard.take(jobs[USERS[1]], Removal(OperationName.DEACTIVATE, "id-1"))
        ended = await world.state.runs.get(old)
        assert (ended.outcome, "config was changed" in ended.error) == ("failed", True)

    world(body)


def test_two_never_scan_at_once(world):
    async def body(world):
        run_id, _ = await world.sync.start("scheduled")
        other = replace(world.sync, owner="other")
        assert await other.start("scheduled") == (run_id, "busy")
        with pytest.raises(ScannerLostError):
            await other.scan(run_id, "resume")

    world(body)


def test_a_scan_is_not_taken_over_while_its_source_takes_long(world, monkeypatch):
    """Hundreds who are gone are asked for one by one over JSON:API: longer than a scanner is waited for."""
    for module in (runs, full_sync):
        monkeypatch.setattr(module, "SCANNER_SECONDS", 1)

    async def body(world):
        present = world.site.present

        async def slow(ids: Sequence[str]) -> frozenset[str]:
            await asyncio.sleep(2.5)
            return await present(ids)

        await world.link_all()
        world.site.delete(USERS[0])
        world.site.present = slow
        await world.run_sync()
        assert world.sent.users == [USERS[0]]

    world(body)


def test_a_site_that_cannot_be_read_removes_nobody(world):
    class Broken(FakeSite):
        async def verify(self) -> str:
            raise SourceUnreadable("anonymous")

    async def body(world):
        await world.link_all()
        sync = replace(world.sync, reader=Broken())
        run_id, kind = await sync.start("scheduled")
        with pytest.raises(SourceUnreadable):
            await sync.scan(run_id, kind)
        assert world.sent.users == []

    world(body)

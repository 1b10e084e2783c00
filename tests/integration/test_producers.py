"""Change detection, the full sync and the sweeper on a real Valkey, with a site in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog

from config.settings import (
    LeaverSettings,
    OperationName,
    Trigger,
)
from producers import full_sync
from producers.full_sync import FullSync
from provisioning.diff import digest
from provisioning.errors import SourceUnreadable
from provisioning.model import Removal, UserRef
from state import runs
from state.runs import ScannerLostError
from tests.support.fakes import FakeSite
from tests.support.producing import KEY, USERS, World
from tests.support.valkey import with_redis


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


# -- change detection ------------------------------------------------------------------------------------------------


def test_the_first_poll_only_takes_its_bearings(world):
    async def body(world):
        found = await world.poll()
        assert (found.changed, found.gone) == ((), ())
        assert world.sent.users == []

    world(body)


def test_a_changed_user_is_submitted_once(world):
    async def body(world):
        await world.poll()
        world.edit(USERS[1], 900_100)
        assert (await world.poll()).changed == (USERS[1],)
        assert (await world.poll()).changed == ()

    world(body)


def test_a_save_that_was_committed_late_is_found_through_the_overlap(world):
    async def body(world):
        await world.poll()
        world.edit(USERS[1], 900_100)
        await world.poll()
        world.edit(USERS[2], 900_095)
        assert (await world.poll()).changed == (USERS[2],)

    world(body)


def test_a_site_whose_clock_is_behind_ours_is_followed_all_the_same(world):
    async def body(world):
        world.now = 2_000_000.0
        await world.poll()
        world.edit(USERS[1], 900_001)
        assert (await world.poll()).changed == (USERS[1],)

    world(body)


def test_a_user_saved_twice_in_the_running_second_is_seen_again(world):
    async def body(world):
        await world.poll()
        world.now = 1_000_100.0
        world.edit(USERS[1], 1_000_100)
        assert (await world.poll()).changed == (USERS[1],)
        assert (await world.poll()).changed == (USERS[1],)
        world.now += 10
        await world.poll()
        assert (await world.poll()).changed == ()

    world(body)


@pytest.mark.parametrize("later", [0, 1_000], ids=["nobody since", "others since"])
def test_a_user_whom_one_long_request_saves_twice_is_looked_at_when_it_is_over(world, later):
    async def body(world):
        await world.link_all()
        await world.poll()
        world.now = 1_000_100.0
        world.edit(USERS[1], 1_000_090, mail="first")
        world.edit(USERS[2], 1_000_090, mail="first")
        assert set((await world.poll()).changed) == {USERS[1], USERS[2]}
        # What was submitted is done; one of the two is saved once more, at the time that its request began.
        await world.link_all()
        world.edit(USERS[1], 1_000_090, mail="second")
        world.now += 10
        assert (await world.poll()).changed == ()
        world.now += 300 + later
        if later:
            world.edit(USERS[3], 1_000_090 + later)
        assert (await world.poll()).changed == ((USERS[3],) if later else ()) + (USERS[1],)
        assert (await world.poll()).changed == ()

    world(body)


def test_the_mark_never_passes_the_time_its_read_began(world):
    async def body(world):
        await world.poll()
        world.edit(USERS[1], 5_000_000)
        await world.poll()
        world.edit(USERS[2], 1_000_010)
        assert USERS[2] in (await world.poll()).changed

    world(body)


def test_a_deleted_user_is_found_by_ids_and_submitted_once(world):
    async def body(world):
        await world.link_all()
        await world.poll()
        world.site.delete(USERS[3])
        assert (await world.poll()).gone == (USERS[3],)
        assert (await world.poll()).gone == ()

    world(body)


def test_a_listing_that_fails_loses_nobody_and_moves_no_mark(world):
    class Broken(FakeSite):
        async def changed_since(self, since: int) -> Sequence[UserRef]:
            raise SourceUnreadable("down")

    async def body(world):
        await world.poll()
        world.edit(USERS[1], 900_100)
        world.detection._reader = Broken()
        with pytest.raises(SourceUnreadable):
            await world.poll()
        world.detection._reader = world.site
        assert (await world.poll()).changed == (USERS[1],)

    world(body)


def test_who_was_saved_does_not_wait_for_a_listing_that_fails(world):
    """Over JSON:API it is thousands of requests on a large site; one of them that fails must not stop all changes."""

    async def body(world):
        await world.poll()
        ids = world.site.ids

        async def broken(after: int = 0):
            raise SourceUnreadable("502")
            yield

        world.site.ids = broken
        world.edit(USERS[1], 900_100)
        await world.link_all()
        with pytest.raises(SourceUnreadable):
            await world.poll()
        assert await world.state.ledger.states(USERS[:3]) == {USERS[1]: "pending"}
        world.site.delete(USERS[3])
        world.site.ids = ids
        world.now += 10
        assert (await world.poll()).gone == (USERS[3],)

    world(body)


def test_a_user_of_the_future_is_submitted_once(world):
    """A web head's clock was wrong: else with every poll until that time has come."""

    async def body(world):
        await world.poll()
        world.edit(USERS[1], 5_000_000)
        assert (await world.poll()).changed == (USERS[1],)
        world.now += 10
        assert (await world.poll()).changed == ()

    world(body)


# -- full sync -------------------------------------------------------------------------------------------------------


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


def test_two_never_scan_at_once(world):
    async def body(world):
        run_id, _ = await world.sync.start("scheduled")
        other = FullSync(world.state, world.compiled, world.site, KEY, "other", structlog.get_logger())
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
        sync = FullSync(world.state, world.compiled, Broken(), KEY, "owner", structlog.get_logger())
        run_id, kind = await sync.start("scheduled")
        with pytest.raises(SourceUnreadable):
            await sync.scan(run_id, kind)
        assert world.sent.users == []

    world(body)

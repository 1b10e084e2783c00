"""Who is gone, found by counting the links of whom a scan sees; on a real Valkey, which tells what it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from config.settings import LeaverSettings, OperationName
from producers.attendance import MOST_UNCOUNTED
from producers.findings import MOST_LEAVING, Scan
from producers.full_sync import FullSync
from provisioning.mapping import compile_target
from provisioning.model import Removal, SourceUser
from tests.support.scanning import USERS, with_scanned_site


@pytest.fixture
def world(redis_url):
    return partial(with_scanned_site, redis_url)


def test_that_nobody_is_gone_is_known_without_reading_the_links(world):
    async def body(world):
        run = await world.run_sync()
        assert (run.counters["scanned"], run.counters["unchanged"], world.sent.users) == (20, 20, [])
        assert not await world.all_links_read()

    world(body)


def test_whoever_is_gone_is_found_by_reading_them(world):
    async def body(world):
        for user in (USERS[3], USERS[19]):
            world.site.delete(user)
        await world.run_sync()
        assert world.sent.users == [USERS[3], USERS[19]]
        assert await world.all_links_read()

    world(body)


@pytest.mark.parametrize("gone", [(), (USERS[6],)], ids=["nobody gone", "somebody gone"])
def test_links_made_while_scanning_hide_nobody_and_cost_nothing(world, gone):
    async def body(world):
        for user in gone:
            world.site.delete(user)
        early, late, young = (f"{number}a000000-0000-4000-8000-000000000000" for number in range(3))
        world.site.add(early)
        world.site.add(late)
        # Before the page of the two is judged.
        world.site.meanwhile = {(len(world.site.users) - 1) // 5: lambda: world.link(late)}

        class Joining(FullSync):
            """A worker makes accounts for one who was seen without a link, and for one who came after the last page."""

            async def judge(self, page: Sequence[SourceUser], waiting: frozenset[str] = frozenset()) -> Scan:
                scan = await super().judge(page, waiting)
                if page[-1].uuid == late:
                    world.site.add(young)
                    await world.link(early, young)
                return scan

        await world.run_sync(Joining)
        assert world.sent.users == [early, *gone]
        assert await world.all_links_read() == bool(gone)

    world(body)


@pytest.mark.parametrize("how", ["dropped", "settled", "dropped and made again"])
def test_a_link_that_goes_away_after_it_was_counted_hides_nobody(world, how):
    async def body(world):
        world.site.delete(USERS[12])

        async def meanwhile() -> None:
            if how == "settled":
                world.site.delete(USERS[0])
                await world.link(USERS[0])
            else:
                await world.drop(USERS[0])
            if how == "dropped and made again":
                await world.link(USERS[0])

        world.site.meanwhile = {2: meanwhile}
        await world.run_sync()
        assert world.sent.users == [USERS[12]]

    world(body, deleted="deactivate")


def test_leavers_who_are_dealt_with_do_not_make_each_sync_read_all_links(world):
    async def body(world):
        for user in USERS[:4]:
            world.site.delete(user)
        await world.link(*USERS[:4])
        await world.run_sync()
        assert world.sent.users == []
        assert not await world.all_links_read()
        # One more, and one of them is back.
        world.site.delete(USERS[7])
        world.site.add(USERS[1], name="user1")
        await world.run_sync()
        assert sorted(world.sent.users) == [USERS[1], USERS[7]]

    world(body, deleted="deactivate")


@pytest.mark.parametrize("gone", [(), (USERS[7],)], ids=["nobody gone", "somebody gone"])
def test_a_settled_user_who_is_back_does_not_stand_for_somebody_who_is_gone(world, gone):
    async def body(world):
        for user in (USERS[1], *gone):
            world.site.delete(user)
        await world.link(USERS[1])
        # Seen on the first page once more, and while the scan goes on a worker is done with the one who is back.
        world.site.add(USERS[1], name="user1")
        world.site.users[USERS[1]]["uid"] = 2
        world.site.meanwhile = {2: lambda: world.link(USERS[1])}
        await world.run_sync()
        assert world.sent.users == [USERS[1], *gone]
        assert await world.all_links_read() == bool(gone)

    world(body, deleted="deactivate")


def test_leavers_are_dealt_with_anew_when_the_policy_is_another_one(world):
    async def body(world):
        world.site.delete(USERS[1])
        await world.link(USERS[1])
        edited = compile_target(
            world.settings.model_copy(update={"leavers": LeaverSettings(deleted="delete")})
        )
        await world.run_sync(compiled=edited)
        assert USERS[1] in world.sent.users

    world(body, deleted="deactivate")


def test_a_new_digest_key_hides_nobody(world):
    async def body(world):
        world.site.delete(USERS[1])
        await world.link(USERS[1])
        await world.run_sync(key=b"x" * 32)
        assert sorted(world.sent.users) == USERS

    world(body, deleted="deactivate")


def test_a_scan_that_is_resumed_counts_those_it_saw_before(world):
    async def body(world):
        for gone in (None, USERS[2]):
            if gone:
                world.site.delete(gone)
            run_id, _ = await world.state.runs.start("owner", "scheduled", world.compiled.policy_digest)
            await world.state.runs.advance(run_id, "owner", 10, scanned=10)
            await world.state.runs.stop_scanning(run_id, "owner")
            assert (await world.run_sync()).run_id == run_id
            assert world.sent.users == ([gone] if gone else [])
            assert await world.all_links_read() == bool(gone)

    world(body)


def test_more_users_without_a_link_than_are_remembered_hide_nobody(world):
    async def body(world):
        newcomers = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(MOST_UNCOUNTED + 1)]
        for number, user in enumerate(newcomers):
            world.site.add(user, name=f"new{number}")
        world.site.delete(USERS[3])
        world.site.meanwhile = {6: lambda: world.link(newcomers[0])}
        await world.run_sync()
        assert set(world.sent.users) == {USERS[3], *newcomers}

    world(body)


def test_when_almost_everybody_leaves_they_are_held_and_not_kept(world):
    async def body(world):
        many = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(MOST_LEAVING + 20)]
        pipe = world.client.pipeline(transaction=False)
        for number, user in enumerate(many):
            world.site.add(user, name=f"new{number}", status=False)
            pipe.hset("scimpipe:{acme}:links", user, f"id-{number}\t\tprint\t1")
        await pipe.execute()
        most = 0

        class Watched(FullSync):
            async def _hold(self, run_id: str, found: Any) -> None:
                nonlocal most
                most = max(most, len(found.leaving))
                await super()._hold(run_id, found)

        run = await world.run_sync(Watched)
        assert sorted(world.sent.users) == sorted(many)
        (job,) = await world.state.ledger.claim(many[:1], "worker", 30)
        assert job.run_id == run.run_id
        withheld = await world.state.guard.take(job, Removal(OperationName.DEACTIVATE, "id-0"))
        assert f"{MOST_LEAVING + 5} removals at once" in withheld.reason
        assert most <= MOST_LEAVING

    world(body)

"""Change detection on a real Valkey, with a site in memory: who has changed, come or gone since the last poll."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from provisioning.errors import SourceUnreadable
from provisioning.model import UserRef
from tests.support.fakes import FakeSite
from tests.support.producing import USERS, World
from tests.support.valkey import with_redis


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


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
        assert world.detection.departures.failing == "502"
        world.site.delete(USERS[3])
        world.site.ids = ids
        world.now += 10
        assert (await world.poll()).gone == (USERS[3],)
        assert world.detection.departures.failing == ""

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

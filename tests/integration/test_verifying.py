"""`sync --verify` and the work that follows, on a real Valkey, with a site and a target in memory."""

from __future__ import annotations

import pytest

from config.settings import Trigger
from producers.verify import Verification, Verified
from tests.support.batches import USERS, World
from tests.support.reconciling import KEY
from tests.support.valkey import with_redis

LEAVER = USERS[0]
REMOVALS = "scimpipe:{acme}:removals"


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


async def work(world: World) -> list[str]:
    """On everybody. Gives the writes."""
    world.target.requests.clear()
    await world.state.submit(USERS, Trigger.MANUAL)
    await world.another_batch().run(USERS, "interactive")
    return world.target.writes


async def verify(world: World) -> Verified:
    work = world.work
    return await Verification(work.settings, world.state, work.compiled, world.site, world.target, KEY).run()


@pytest.mark.parametrize("active_again", [False, True])
def test_a_leaver_whom_the_listing_leaves_out_is_removed_once_more_only_if_active(world, active_again):
    """Some targets list active accounts only. Former leavers would use up the budget, and whoever leaves now be held."""

    async def body(world):
        await work(world)
        world.site.edit(LEAVER, status=False)
        assert await work(world) == ["update"]
        scim_id = (await world.state.links.get_many([LEAVER]))[LEAVER].scim_id
        # An hour later.
        await world.client.delete(REMOVALS)
        listing = world.target.listing

        async def those_who_were_never_removed():
            async for page in listing():
                yield [account for account in page if account.scim_id != scim_id]

        world.target.listing = those_who_were_never_removed
        world.target.touch(scim_id, active=active_again)
        assert (await verify(world)).missing == (LEAVER,)
        assert await work(world) == (["update"] if active_again else [])
        assert await world.client.exists(REMOVALS) == active_again
        assert world.target.accounts[scim_id]["active"] is False
        assert await work(world) == []

    world(body)

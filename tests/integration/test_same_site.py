"""Two Drupal sites, one Redis and one target name: a worker of the one gets the users of the other; on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from config.settings import Trigger
from provisioning.errors import SourceIdentityLost
from provisioning.model import UserRef
from state.ledger import INTERACTIVE
from state.same_site import SameSite
from tests.support.batches import USERS, World
from tests.support.fakes import FakeSite
from tests.support.producing import World as Producing
from tests.support.valkey import with_redis

OTHERS = [f"0f000000-0000-4000-8000-00000000000{number}" for number in range(2, 6)]


@pytest.fixture
def world(redis_url):
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


def inactive(world: World) -> int:
    return sum(account.get("active") is False for account in world.target.accounts.values())


async def provision(world: World, users: list[str]) -> None:
    await world.state.submit(users, Trigger.MANUAL)
    await world.another_batch().run(users, INTERACTIVE)


@pytest.mark.parametrize("same_process", [False, True])
def test_a_worker_of_another_site_takes_nobody_for_gone(world, same_process):
    """One that has begun with it, or whose database was exchanged."""

    async def body(world):
        await provision(world, USERS)
        world.site.users.clear()
        world.site.add("0f000000-0000-4000-8000-000000000001")
        world.site.users["0f000000-0000-4000-8000-000000000001"]["uid"] = 1
        if not same_process:
            world.same_site = SameSite(world.client, world.site)
        await provision(world, USERS[3:6])
        assert inactive(world) == 0
        health = await world.source_gate.health()
        assert (health.state, "another Drupal site" in health.reason) == ("quarantined", True)
        assert (await world.state.ledger.counts()).pending == 3

    world(body)


def test_whoever_is_gone_from_the_same_site_is_gone(world):
    async def body(world):
        await provision(world, USERS)
        world.site.delete(USERS[3])
        await provision(world, USERS[3:4])
        assert inactive(world) == 1

    world(body)


class AskedSite(FakeSite):
    """pages: how many of a listing were read."""

    pages = 0

    async def ids(self, after: int = 0) -> AsyncIterator[Sequence[UserRef]]:
        async for page in super().ids(after):
            self.pages += 1
            yield page


def test_where_somebody_is_gone_no_listing_is_read_but_for_the_first_time(redis_url):
    """A page of it has ten thousand users, where a database is read; and each message may have somebody who is gone."""

    async def body(client):
        site = AskedSite()
        site.add(USERS[0])
        for _ in range(3):
            same_site = SameSite(client, site)
            await same_site.settle(somebody_gone=False)
            await same_site.settle(somebody_gone=True)
            assert site.pages == 1

    with_redis(redis_url, body)


def test_of_a_site_without_user_1_nothing_is_known(world):
    async def body(world):
        await provision(world, USERS)
        world.site.delete(USERS[0])
        await provision(world, USERS[:1])
        assert (await world.source_gate.health()).open
        assert inactive(world) == 1

    world(body)


def another_site() -> FakeSite:
    site = FakeSite()
    for number, uuid in enumerate(["0f000000-0000-4000-8000-000000000001", *OTHERS], 1):
        site.add(uuid, changed=1_000_000)
        site.users[uuid]["uid"] = number
    return site


@pytest.mark.parametrize("producer", ["full sync", "changes"])
def test_no_producer_of_another_site_fills_the_queue(redis_url, producer):
    """Once its address was put right all of them would be gone, and their accounts, of another scimpipe's, removed."""

    async def body(client):
        world = Producing(client)
        await SameSite(client, world.site).settle(somebody_gone=False)
        await world.poll()
        before = world.site.users.copy()
        world.site.users.clear()
        world.site.users.update(another_site().users)
        with pytest.raises(SourceIdentityLost, match="another Drupal site"):
            await (world.run_sync() if producer == "full sync" else world.poll())
        assert world.sent.users == []
        world.site.users.clear()
        world.site.users.update(before)
        await world.poll()
        assert world.sent.users == []

    with_redis(redis_url, body)

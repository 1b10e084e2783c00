"""`sync --verify` and the work that follows, on a real Valkey, with a site and a target in memory."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import Trigger
from producers.verify import Verification, Verified
from provisioning.errors import AmbiguousWrite
from state.same_site import SameSite
from tests.support import scanning
from tests.support.batches import USERS, World
from tests.support.fakes import FakeTarget
from tests.support.reconciling import KEY
from tests.support.valkey import with_redis

LEAVER, NEWCOMER = USERS[:2]
SCANNED = scanning.USERS[3]
STRANGER = "0f000000-0000-4000-8000-000000000000"
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
    return await Verification(
        work.settings, world.state, work.compiled, world.site, world.same_site, world.target, KEY
    ).run()


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


def test_a_leaver_whose_create_had_no_answer_is_no_orphan(world):
    """The link tells that the account is ours: nobody has to be asked."""

    async def body(world):
        lost = iter([AmbiguousWrite("no answer")])
        world.target.after = lambda verb: next(lost, None)
        await work(world)
        assert len(world.target.accounts) == len(USERS)
        world.site.delete(LEAVER)
        assert (await verify(world)).orphans == 0
        # Without the wait for what may still be carried out.
        await world.client.delete("scimpipe:{acme}:jobs", "scimpipe:{acme}:urgent")
        await work(world)
        left = [account for account in world.target.accounts.values() if not account.get("active", True)]
        assert [account["externalId"] for account in left] == [LEAVER]

    world(body)


@pytest.mark.parametrize("removed", [False, True])
def test_an_orphan_is_held_if_it_is_there_once_the_listing_has_ended(world, removed):
    async def body(world):
        scim_id = (await world.target.create({"userName": "former", "externalId": STRANGER})).scim_id
        listing = world.target.listing

        async def then_it_goes():
            async for page in listing():
                yield page
            if removed:
                del world.target.accounts[scim_id]

        world.target.listing = then_it_goes
        found = await verify(world)
        assert found.held == (0 if removed else 1)
        assert [entry.user for entry in await world.state.ledger.held()] == ([] if removed else [STRANGER])

    world(body)


def test_an_account_that_another_tool_made_is_no_orphan(world):
    """Where externalId is the uuid, one that is none never was ours: approving the removal of all orphans must not reach it."""

    async def body(world):
        await world.target.create({"userName": "another's", "externalId": "emp-42"})
        assert ((await verify(world)).orphans, await world.state.ledger.held()) == (0, ())

    world(body)


def test_a_second_account_of_somebody_whose_first_one_has_drifted_is_found_too(world):
    async def body(world):
        await work(world)
        links = await world.state.links.get_many([LEAVER])
        world.target.touch(links[LEAVER].scim_id, userName="somebody else's")
        await world.target.create({"userName": "second", "externalId": LEAVER})
        found = await verify(world)
        assert (found.drifted, found.unlinked) == ((LEAVER,), (LEAVER,))

    world(body)


def test_former_accounts_of_a_leaver_that_are_inactive_are_left_alone(world):
    async def body(world):
        await work(world)
        world.site.edit(LEAVER, status=False)
        await work(world)
        links = await world.state.links.get_many([LEAVER])
        await world.target.create({"userName": "second", "externalId": LEAVER, "active": False})
        assert (await verify(world)).unlinked == ()
        assert await world.state.links.get_many([LEAVER]) == links

    world(body)


@pytest.mark.parametrize("first", [False, True])
def test_of_two_orphans_of_one_user_the_active_one_is_held(world, first):
    async def body(world):
        made = [
            (await world.target.create({"userName": f"u{active}", "externalId": STRANGER, "active": active}))
            for active in (first, not first)
        ]
        assert (await verify(world)).held == 1
        (entry,) = await world.state.ledger.held()
        assert entry.scim_id == made[0 if first else 1].scim_id
        world.target.requests.clear()
        assert (await verify(world)).held == 0
        assert "get" not in world.target.requests, "of whom a person has been asked"

    world(body)


def test_a_user_who_is_being_worked_on_is_doubted_once_that_has_ended(world):
    """What the worker writes then would be all that is known: that the account has drifted would be forgotten."""

    async def body(world):
        await work(world)
        links = await world.state.links.get_many([LEAVER])
        world.target.touch(links[LEAVER].scim_id, userName="somebody else's")
        await world.client.hset("scimpipe:{acme}:leased", LEAVER, "{}")
        verifying = asyncio.create_task(verify(world))
        await asyncio.sleep(0.3)
        await world.client.delete("scimpipe:{acme}:leased")
        await world.state.links.put(LEAVER, links[LEAVER])
        assert (await verifying).drifted == (LEAVER,)
        assert (await world.state.links.get_many([LEAVER]))[LEAVER].in_doubt

    world(body)


def test_what_is_done_while_the_listing_is_read_is_not_forgotten(world):
    """A leaver who is deactivated meanwhile is so still, and whoever is linked meanwhile is linked."""

    async def body(world):
        await work(world)
        links = await world.state.links.get_many([LEAVER, NEWCOMER])
        world.target.touch(links[LEAVER].scim_id, userName="somebody else's")
        await world.state.links.drop(NEWCOMER, links[NEWCOMER].scim_id)
        listing = world.target.listing

        async def and_then():
            async for page in listing():
                yield page
            world.site.edit(LEAVER, status=False)
            await work(world)
            await world.state.links.put(NEWCOMER, links[NEWCOMER])

        world.target.listing = and_then
        found = await verify(world)
        assert (found.drifted, found.unlinked, found.orphans) == ((LEAVER,), (), 0)
        now = await world.state.links.get_many([LEAVER, NEWCOMER])
        assert now[NEWCOMER] == links[NEWCOMER]
        assert (now[LEAVER].active, now[LEAVER].content_known) == (False, False)

    world(body)


@pytest.mark.parametrize(
    ("shown", "drifted"),
    [({}, ()), ({"active": None}, ()), ({"active": False}, ()), ({"active": True}, (SCANNED,))],
    ids=["nothing", "null", "inactive", "active"],
)
def test_a_leavers_account_that_does_not_show_active_has_not_drifted(redis_url, shown, drifted):
    """Snipe-IT and others leave it out when it is false: each time all former leavers used up the budget of removals."""

    async def body(client):
        world = scanning.World(client)
        world.site.edit(SCANNED, status=False)
        await world.link(SCANNED)
        link = (await world.state.links.get_many([SCANNED]))[SCANNED]
        await world.state.links.put(SCANNED, link._replace(active=False))
        target = FakeTarget(
            {link.scim_id: {"userName": "user3", "externalId": SCANNED, **shown}}, {link.scim_id: 1}
        )
        check = Verification(
            world.settings,
            world.state,
            world.compiled,
            world.site,
            SameSite(client, world.site),
            target,
            scanning.KEY,
        )
        assert (await check.run()).drifted == drifted

    with_redis(redis_url, body)

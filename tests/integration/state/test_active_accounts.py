"""Of how many the guard allows a share: accounts that are not known to be deactivated, whoever writes meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from provisioning.diff import digest
from provisioning.model import DOUBT, Link
from state.active_accounts import ActiveAccounts
from state.links import LinkStore, digest_key
from tests.support.valkey import with_redis
from tests.unit.state.test_link_text import old_text

PATHS = ("userName", "title")
SETTLED = "!settled"


def link(number: int, sent: Mapping[str, str] = {}, *, active: bool = True, print_now: str = "print") -> Link:
    return Link(f"id-{number}", None, print_now, sent, active)


async def counted(links: LinkStore) -> int:
    """Looked at one by one."""
    found = [each async for page in links.scan() for each in page.values()]
    return sum(each.has_account and (each.active or each.may_be_active) for each in found)


@pytest.fixture
def stored(redis_url):
    """Runs a body with a client, the links of a target, and the number of its active accounts."""

    def run(body):
        async def opened(client):
            await body(client, LinkStore(client, "acme", PATHS), ActiveAccounts(client, "acme"))

        with_redis(redis_url, opened)

    return run


def test_deactivated_accounts_and_users_without_one_are_not_counted(stored):
    async def body(client, links, active):
        assert await active.count() == 0
        for number in range(4):
            await links.put(f"u{number}", Link("", None, "", {"title": DOUBT}, active=False))
            await links.put(f"u{number}", link(number))
        await links.put("nobody's", Link("", None, "none", {}, active=False))
        assert await active.count() == 4
        await links.put("u0", link(0, active=False))
        await links.put("u0", link(0, active=False, print_now="other"))
        await links.put("u1", link(1, active=False, print_now=SETTLED))
        assert await active.count() == 2
        # Back again; the account is gone; doubted; not deactivated by us.
        await links.put("u0", link(0))
        await links.put("u1", Link("", None, "none", {}, active=False), instead_of="id-1")
        await links.put("u2", link(2).doubting(["active"]))
        await links.put("u3", link(3, active=False)._replace(may_be_active=True))
        assert await active.count() == 3
        assert (await links.get_many(["u3"]))["u3"].may_be_active
        assert await active.count() == await counted(links)

    stored(body)


def test_an_account_that_is_taken_by_another_user_is_counted_once(stored):
    async def body(client, links, active):
        await links.put("former", link(1, active=False))
        await links.put("other", link(2))
        assert await active.count() == 1
        # Refused, so nothing is counted.
        assert not await links.put("new", link(1))
        assert not await links.put("former", link(3))
        assert not await links.drop("former", "id-2")
        assert await active.count() == 1
        await links.drop("former", "id-1")
        await links.put("new", link(1, active=False))
        assert await active.count() == 1
        await links.put("new", link(1))
        assert await active.count() == 2
        await links.put("new", link(3, active=False), instead_of="id-1")
        assert await active.count() == 1
        await links.drop("new", "id-3")
        await links.drop("other", "id-2")
        assert await active.count() == 0

    stored(body)


def test_links_of_before_are_told_apart_once(stored):
    async def body(client, links, active):
        key = await digest_key(client)
        sent = {"title": "aaaaaaa", "active": digest(True, key)}
        taken_back = sent | {"active": digest(False, key)}
        before = {
            "active": link(1, sent),
            "blocked": link(2, taken_back, active=False),
            "found": link(3, active=False),
            "invited": link(4, sent, active=False),
            "doubted": link(5, taken_back, active=False).doubting(["active"]),
            "nobody's": Link("", None, "none", {}, active=False),
        }
        for user, each in before.items():
            await client.hset("scimpipe:{acme}:links", user, old_text(each))
            if each.has_account:
                await client.hset("scimpipe:{acme}:owners", each.scim_id, user)
        assert await active.count() == 3
        # Nothing else about them is another.
        found = await links.get_many(list(before))
        assert {user: each._replace(may_be_active=False) for user, each in found.items()} == before
        assert [user for user, each in found.items() if each.may_be_active] == ["invited", "doubted"]
        await links.put("blocked", before["blocked"]._replace(active=True))
        assert await ActiveAccounts(client, "acme").count() == 4
        assert await active.count() == await counted(links)

    stored(body)


def test_links_of_an_earlier_mapping_are_told_apart_by_its_layout(stored):
    async def body(client, links, active):
        sent = digest(True, await digest_key(client))
        earlier = LinkStore(client, "acme", ("Zebra", "aaa", "userName"))
        for number, (user, last) in enumerate({"invited": sent, "blocked": "b" * 7}.items()):
            await earlier.put(
                user, Link(f"id-{number}", None, "f", {"aaa": "a" * 7, "active": last}, active=False)
            )
        # As an earlier release has written them.
        for user, text in (await client.hgetall("scimpipe:{acme}:links")).items():
            await client.hset("scimpipe:{acme}:links", user, text.replace("\t-\t", "\t0\t"))
        await client.hdel("scimpipe:{acme}:linked", "deactivated", "told_apart")
        assert await active.count() == 1

    stored(body)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_writes_or_tells_apart_meanwhile_changes_nothing_about_the_number(stored, seed):
    async def body(client, links, active):
        chance = random.Random(seed)
        users = 5_000
        texts = {f"u{each}": old_text(link(each, active=chance.random() < 0.5)) for each in range(users)}
        await client.hset("scimpipe:{acme}:links", mapping=texts)
        await client.hset(
            "scimpipe:{acme}:owners", mapping={f"id-{each}": f"u{each}" for each in range(users)}
        )

        async def write() -> None:
            for _ in range(150):
                number = chance.randrange(users + 500)
                if chance.random() < 0.2:
                    await links.drop(f"u{number}", f"id-{number}")
                else:
                    await links.put(f"u{number}", link(number, active=chance.random() < 0.5))

        others = [ActiveAccounts(client, "acme").count() for _ in range(2)]
        await asyncio.gather(active.count(), *others, *(write() for _ in range(10)))
        assert await active.count() == await counted(links)

    stored(body)


def test_links_are_not_read_where_all_were_counted_from_the_first(stored):
    async def body(client, links, active):
        await links.put("u", link(1))
        await client.config_resetstat()
        assert await active.count() == 1
        assert "cmdstat_hscan" not in await client.info("commandstats")

    stored(body)


@pytest.mark.parametrize("how", ["emptied", "another address"])
def test_links_that_are_gone_are_not_counted(stored, how):
    async def body(client, links, active):
        if how == "emptied":
            await links.put("u", link(1))
            await links.put("v", link(2, active=False))
            assert await active.count() == 1
            await client.flushall()
        else:
            await links.put("v", Link("", None, "none", {}, active=False))
            assert await active.count() == 0
            # As state.addresses does it where nobody is linked.
            await client.delete("scimpipe:{acme}:links", "scimpipe:{acme}:linked")
        assert await active.count() == 0
        await links.put("v", link(2, active=False))
        await links.put("u", link(1))
        assert await active.count() == 1

    stored(body)

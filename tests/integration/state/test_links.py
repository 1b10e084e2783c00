"""How links are stored and counted, on a real Valkey."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.model import Link
from state.links import NOBODY, LinkStore
from tests.support.valkey import with_redis
from tests.unit.state.test_link_text import old_text

PATHS = ("userName", "title")
LINK = Link("id-1", None, "print", {"userName": "aaaaaaa", "title": "bbbbbbb"})
SETTLED = "!settled"


@pytest.fixture
def stored(redis_url):
    """Runs a body with a client and the links of a target."""
    return lambda body: with_redis(redis_url, lambda client: body(client, LinkStore(client, "acme", PATHS)))


def link(number: int, print_now: str = "print") -> Link:
    return LINK._replace(scim_id=f"id-{number}", fingerprint=print_now)


def test_links_written_before_there_were_layouts_are_read_and_written_anew(stored):
    async def body(client, links):
        await client.hset("scimpipe:{acme}:links", "u", old_text(LINK))
        await client.hset("scimpipe:{acme}:owners", "id-1", "u")
        assert await links.get_many(["u"]) == {"u": LINK}
        assert await links.fingerprints(["u"]) == ["print"]
        assert await links.put("u", LINK._replace(fingerprint="other"))
        assert await links.get_many(["u"]) == {"u": LINK._replace(fingerprint="other")}

    stored(body)


def test_after_an_edit_of_the_mapping_links_are_read_by_the_layout_they_name(stored):
    async def body(client, links):
        await links.put("u", LINK)
        edited = LinkStore(client, "acme", ("userName", "title", "nickName"))
        assert await edited.get_many(["u"]) == {"u": LINK}
        assert [page async for page in LinkStore(client, "acme", (*PATHS, "locale")).scan()] == [{"u": LINK}]
        await client.delete("scimpipe:{acme}:linked")
        forgetful = LinkStore(client, "acme", ("userName", "locale"))
        # Its account is read before its next update, and nobody is made another one.
        assert await forgetful.get_many(["u"]) == {"u": LINK._replace(digests={})}

    stored(body)


def test_fingerprints_are_those_of_the_links_in_the_order_asked_whatever_the_users_are_called(stored):
    async def body(client, links):
        odd = 'a "b"\n\tü\\'
        await links.put("u", LINK)
        await links.put(odd, link(2, "other"))
        await links.put("doubted", link(3).doubting(["title"]))
        await links.put("nobody's", Link("", None, "none", {}))
        asked = [odd, "stranger", "u", "doubted", "nobody's"]
        assert await links.fingerprints(asked) == ["other", None, "print", "", "none"]
        assert await links.fingerprints([]) == []
        many = [f"stranger{number}" for number in range(2_500)]
        assert await links.fingerprints([*many, "u"]) == [None] * 2_500 + ["print"]

    stored(body)


def test_that_nobody_else_has_a_link_is_said_only_when_it_is_so(stored):
    async def body(client, links):
        await links.put("u", link(1))
        await links.put("v", link(2))
        left = await links.left()
        assert await links.nobody_else(SETTLED, left, 2, [])
        assert await links.nobody_else(SETTLED, left, 1, ["v", "stranger"])
        assert not await links.nobody_else(SETTLED, left, 1, ["stranger"])
        await links.put("w", link(3))
        assert not await links.nobody_else(SETTLED, left, 2, [])
        assert await links.nobody_else(SETTLED, left, 2, ["w"])
        await links.put("w", link(3, "other"))
        assert await links.nobody_else(SETTLED, left, 2, ["w"])

    stored(body)


@pytest.mark.parametrize("how", ["dropped", "settled", "dropped and made again"])
def test_a_link_that_left_meanwhile_leaves_it_open(stored, how):
    async def body(client, links):
        await links.put("seen", link(1))
        await links.put("gone", link(2))
        left = await links.left()
        if how == "settled":
            await links.put("seen", link(1, SETTLED))
        else:
            await links.drop("seen", "id-1")
        if how == "dropped and made again":
            await links.put("seen", link(3))
        # One was counted, and there is one: but it is another one.
        assert not await links.nobody_else(SETTLED, left, 1, [])

    stored(body)


def test_settled_links_are_counted_apart_and_only_those_of_todays_policy(stored):
    async def body(client, links):
        for number in range(3):
            await links.put(f"u{number}", link(number))
        await links.put("u0", link(0, SETTLED))
        left = await links.left()
        await links.put("u0", link(0, SETTLED))
        assert await links.left() == left
        await links.put("u1", link(1, "!of another policy"))
        left = await links.left()
        assert await links.nobody_else(SETTLED, left, 1, ["u1"])
        assert await links.nobody_else(SETTLED, left, 2, [])
        assert await links.nobody_else("!of another policy", left, 2, [])
        assert [user async for page in links.unsettled(SETTLED) for user in page] == ["u1", "u2"]
        # Back again, settled again, dropped: the count follows.
        await links.put("u0", link(0, "back"))
        assert await links.nobody_else(SETTLED, left, 3, [])
        await links.put("u0", link(0, SETTLED))
        await links.put("u1", link(1, SETTLED))
        assert await links.nobody_else(SETTLED, await links.left(), 1, [])
        await links.drop("u0", "id-0")
        assert await links.nobody_else(SETTLED, await links.left(), 1, [])
        await links.drop("u2", "id-2")
        assert await links.nobody_else(SETTLED, await links.left(), 0, [])

    stored(body)


def test_a_write_that_is_refused_counts_nothing(stored):
    async def body(client, links):
        await links.put("u", link(1))
        left = await links.left()
        assert not await links.put("u", link(2, SETTLED))
        assert not await links.put("v", link(1, SETTLED))
        assert not await links.drop("u", "id-2")
        assert await links.left() == left
        assert await links.nobody_else(SETTLED, left, 1, [])

    stored(body)


@pytest.mark.parametrize("lease", ["another/1", "nobody's", "its/own"])
def test_nobody_writes_who_has_lost_the_lease(stored, lease):
    """But for an account that was made a moment ago, where none is known."""

    async def body(client, links):
        allowed = lease == "its/own"

        async def put(link: Link, **known: Any) -> bool:
            return await links.put("u", link, holder="its/own", **known)

        if lease != "nobody's":
            text = await client.eval("return cjson.encode({o = ARGV[1], j = {}})", 0, lease)
            await client.hset("scimpipe:{acme}:leased", "u", text)
        assert await put(Link("", None, "", {})) == allowed
        assert await put(link(1), made=True)
        for written in (link(1, "later"), Link("", None, "", {})):
            assert await put(written, instead_of="id-1") == allowed
        if not allowed:
            assert not await put(link(1, "later"), made=True), "somebody has found it"
        assert await links.drop("u", "id-1", holder="its/own") == allowed
        assert await links.owner("id-1") == (None if allowed else "u")

    stored(body)


def test_what_is_changed_from_outside_waits_for_whoever_has_the_user(stored):
    async def body(client, links):
        assert not await links.put("u", link(1), holder=NOBODY), "there is none that could be changed"
        await links.put("u", link(1))
        await client.hset("scimpipe:{acme}:leased", "u", "{}")
        assert not await links.put("u", link(1, "later"), holder=NOBODY)
        await client.delete("scimpipe:{acme}:leased")
        assert await links.put("u", link(1, "later"), holder=NOBODY)

    stored(body)

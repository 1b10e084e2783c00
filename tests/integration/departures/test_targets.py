"""Who has left a site that can count: several targets, crashes, other pollers, a Redis that was emptied, uids used again."""

from __future__ import annotations

import pytest

from producers.changes import Found
from provisioning.model import Total
from state.roster import Page, RosterStore
from tests.support.databases import KINDS
from tests.support.departures import (
    REUSED,
    ROSTER,
    USERS,
    DiesWriting,
    Slow,
)

# -- several targets -----------------------------------------------------------------------------------------


def test_each_target_is_told_of_its_own_and_drupal_is_asked_once(world):
    async def body(world):
        await world.link(USERS[1], USERS[2])
        await world.link(USERS[2], USERS[3], target="other")
        poll = world.poller("acme", "other")
        assert await poll() == {}
        world.site.delete(*USERS[1:4])
        world.site.edit(USERS[5], name="renamed")
        found = await poll()
        assert found["acme"] == Found((USERS[5],), (USERS[1], USERS[2]))
        assert found["other"] == Found((USERS[5],), (USERS[2], USERS[3]))
        assert sorted(world.reader.questions) == ["changed_since", "total", "totals", "uuids from 0"]
        assert await world.submitted(*USERS, target="other") == {USERS[2], USERS[3], USERS[5]}

    world(body)


def test_a_target_that_is_new_is_told_of_nobody_who_left_before(world):
    async def body(world):
        await world.link(*USERS)
        await world.link(*USERS, target="other")
        await world.poller()()
        world.site.delete(USERS[1])
        both = world.poller("acme", "other")
        assert (await both())["acme"].gone == (USERS[1],)
        assert await world.submitted(*USERS, target="other") == set()
        world.site.delete(USERS[2])
        found = await both()
        assert found["acme"].gone == found["other"].gone == (USERS[2],)

    world(body)


def test_a_target_whose_trigger_was_off_is_told_of_who_left_meanwhile(world):
    async def body(world):
        await world.link(*USERS)
        await world.link(*USERS, target="other")
        await world.poller("acme", "other")()
        only_one = world.poller()
        await only_one()
        world.site.delete(USERS[1])
        assert (await only_one()).gone == (USERS[1],)
        world.site.delete(USERS[2])
        both = world.poller("acme", "other")
        found = await both()
        assert (found["acme"].gone, sorted(found["other"].gone)) == ((USERS[2],), [USERS[1], USERS[2]])
        assert "ids" in world.reader.questions
        assert await both() == {"acme": Found(), "other": Found()}
        assert "ids" not in world.reader.questions

    world(body)


def test_what_one_target_has_seen_it_is_not_told_again_because_another_has_not(world):
    async def body(world):
        await world.poller("acme", "other")()
        only_one = world.poller()
        await only_one()
        world.site.edit(USERS[1], name="renamed")
        assert (await only_one()).changed == (USERS[1],)
        world.site.edit(USERS[2], name="renamed too")
        # Twice: the first one is out of the overlap by now, and forgotten.
        assert [(await only_one()).changed for _ in range(2)] == [(USERS[2],), ()]
        found = await world.poller("acme", "other")()
        assert (found["acme"].changed, found["other"].changed) == ((), (USERS[1], USERS[2]))

    world(body)


# -- crashes, other pollers, a Redis that was emptied ----------------------------------------------------------


def test_a_poller_that_dies_before_it_writes_is_followed_by_one_that_submits_again(world):
    async def body(world):
        await world.link(*USERS)
        await world.poller()()
        world.site.delete(USERS[1])
        with pytest.raises(ConnectionError):
            await world.poller(roster=DiesWriting)()
        assert await world.submitted(*USERS) == {USERS[1]}
        await world.state().ledger.claim(USERS, "worker", 30)
        assert (await world.poller()()).gone == (USERS[1],)

    world(body)


def test_after_redis_was_emptied_it_takes_its_bearings_once_more(world):
    async def body(world):
        await world.link(*USERS)
        poll = world.poller()
        await poll()
        await world.client.flushall()
        world.site.delete(USERS[1])
        assert await poll() == Found()
        await world.link(*USERS)
        world.site.delete(USERS[2])
        assert (await poll()).gone == (USERS[2],)

    world(body)


def test_a_lost_roster_is_made_anew_and_whoever_left_meanwhile_is_found_by_ids(world):
    async def body(world):
        await world.link(*USERS)
        poll = world.poller()
        await poll()
        await world.client.delete(ROSTER)
        world.site.delete(USERS[1])
        # Without waiting until a count is due.
        world.reader = Slow(world.url, world.later)
        poll = world.poller()
        assert (await poll()).gone == (USERS[1],)
        await world.client.delete(ROSTER)
        world.site.delete(USERS[2])
        # Nobody has dealt with the first one yet.
        assert (await poll()).gone == (USERS[1], USERS[2])

    world(body)


def test_pollers_that_take_turns_miss_nobody(world):
    """What one remembers is wrong as soon as the other has written."""

    async def body(world):
        await world.link(*USERS)
        one, other = world.poller(), world.poller()
        await one()
        await other()
        added = world.site.add_user("added", None)
        await world.link(added)
        await other()
        world.site.delete(added)
        assert (await one()).gone == (added,)
        world.site.delete(USERS[1])
        assert (await other()).gone == (USERS[1],)
        assert await one() == Found()

    world(body)


def test_nobody_overwrites_what_another_poller_has_written(world):
    async def body(world):
        one, other = RosterStore(world.client), RosterStore(world.client)
        await one.read()
        await other.read()
        assert await other.write({0: Page.of({5: "u-5"})}, frozenset({"acme"}))
        assert not await one.write({0: Page()})
        assert (await one.read()).totals == {0: Total(1, 5)}
        assert await one.write({0: Page()})
        assert (await other.read()).totals.get(0, Total()) == Total()
        assert await world.client.hexists(ROSTER, "0") == 0

    world(body)


# -- a uid that is used again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_uid_that_was_given_again_is_another_user(on_each, kind):
    async def body(world):
        await world.link(*USERS)
        poll = world.poller()
        await poll()
        (uid,) = (user.uid for user in world.site.users() if user.uuid == USERS[11])
        world.execute(f"UPDATE users SET uuid = '{REUSED}' WHERE uid = {uid}")
        world.site.edit(REUSED, name="somebody else")
        assert await poll() == Found((REUSED,), (USERS[11],))
        assert await poll() == Found()
        # Whoever has the name now gets it when the other has lost it.
        jobs = {job.user: job for job in await world.state().ledger.claim([USERS[11], REUSED], "worker", 30)}
        assert jobs[USERS[11]].generation < jobs[REUSED].generation

    on_each(kind, body)

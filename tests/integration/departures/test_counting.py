"""Who has left a site that can count: what the database is asked, and from the deletion to the submission."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import (
    DrupalDatabaseSettings,
    DrupalJsonApiSettings,
    Trigger,
)
from drupal.opening import open_reader
from producers.changes import Found
from provisioning.errors import SourceUnreadable
from provisioning.mapping import compile_target
from provisioning.model import DOUBT, Link, Total
from provisioning.ports import CountingReader
from state.roster import WIDTH
from tests.support.databases import KINDS
from tests.support.departures import (
    BUDGET,
    USERS,
    DiesWriting,
    Slow,
    digest_key,
    settings,
)

# -- what the database is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_users_are_counted_whole_and_by_ranges_of_uids(on_each, kind):
    async def body(world):
        world.execute(
            "UPDATE users SET uid = 1999 WHERE uid = 12", "UPDATE users SET uid = 2000 WHERE uid = 13"
        )

        assert await world.reader.total() == Total(13, sum(range(1, 12)) + 1999 + 2000)
        assert await world.reader.totals(1000) == {
            0: Total(11, sum(range(1, 12))),
            1: Total(1, 1999),
            2: Total(1, 2000),
        }
        assert await world.reader.uuids(1000, 1999) == {1999: USERS[10]}
        assert list(await world.reader.uuids(0, 2)) == [1, 2]
        assert await world.reader.uuids(3000, 3999) == {}

    on_each(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_emptied_of_its_users_is_unreadable_and_not_a_count_of_none(on_each, kind):
    async def body(world):
        world.execute("DELETE FROM users WHERE uid > 0")
        for question in (world.reader.total, lambda: world.reader.totals(1000)):
            with pytest.raises(SourceUnreadable, match="no user at all"):
                await question()

    on_each(kind, body)


def test_the_json_api_cannot_count(tmp_path):
    api = DrupalJsonApiSettings(
        kind="jsonapi", base_url="https://drupal.example", username="u", password=None
    )
    assert not isinstance(open_reader(api, frozenset()), CountingReader)
    database = DrupalDatabaseSettings(url=f"sqlite:///{tmp_path}/site.sqlite")
    assert isinstance(open_reader(database, frozenset()), CountingReader)


# -- who has left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_user_is_found_by_one_poll_and_by_no_other(on_each, kind):
    async def body(world):
        await world.link(*USERS)
        poll = world.poller()
        assert await poll() == Found()
        assert sorted(await world.roster()) == sorted(user.uuid for user in world.site.users())
        world.site.delete(USERS[3], USERS[11])
        assert await poll() == Found(gone=(USERS[3], USERS[11]))
        assert await world.submitted(*USERS) == {USERS[3], USERS[11]}
        assert await poll() == Found()
        assert await world.poller()() == Found()

    on_each(kind, body)


def test_while_nobody_comes_or_goes_one_count_is_asked_and_nothing_is_written(world):
    async def body(world):
        poll = world.poller()
        await poll()
        await poll()
        before = await writes(world.client)
        for _ in range(3):
            assert await poll() == Found()
            assert world.reader.questions == ["changed_since", "total"]
        # As a process that has just started does.
        assert await world.poller()() == Found()
        assert world.reader.questions == ["changed_since", "total"]
        assert await writes(world.client) == before

    world(body)


async def writes(client: Any) -> int:
    statistics = await client.info("commandstats")
    return sum(
        statistics.get(f"cmdstat_{name}", {}).get("calls", 0)
        for name in ("hset", "hdel", "set", "eval", "evalsha")
    )


def test_only_the_range_that_differs_is_read(world):
    async def body(world):
        for table in ("users", "users_field_data"):
            world.execute(f"UPDATE {table} SET uid = uid + {WIDTH - 2} WHERE uid IN (2, 3)")
        await world.link(*USERS)
        poll = world.poller()
        await poll()
        assert sorted(await world.roster()) == sorted(user.uuid for user in world.site.users())
        for user in USERS[:2]:
            world.site.delete(user)
            assert (await poll()).gone == (user,)
            assert world.reader.questions == ["changed_since", "total", "totals", f"uuids from {WIDTH}"]
        assert sorted(await world.roster()) == sorted(user.uuid for user in world.site.users())

    world(body)


def test_nobody_is_submitted_whose_leaving_is_of_no_concern(world):
    """No account, or dealt with already."""

    async def body(world):
        await world.link(USERS[1])
        in_doubt = Link("", None, "", {"userName": DOUBT})
        await world.state().links.put(USERS[0], in_doubt)
        done = compile_target(settings("acme")).gone_fingerprint(await digest_key())
        await world.state().links.put(USERS[2], Link("", None, done, {}))
        poll = world.poller()
        await poll()
        world.site.delete(*USERS[:4])
        assert (await poll()).gone == (USERS[0], USERS[1])

    world(body)


def test_a_user_is_submitted_whom_a_worker_read_before_they_left_and_has_no_account_for_yet(world):
    async def body(world):
        poll = world.poller()
        await poll()
        state = world.state()
        await state.submit([USERS[1]], Trigger.MANUAL)
        await state.ledger.claim([USERS[1]], "worker", 30)
        world.site.delete(USERS[1])
        assert (await poll()).gone == (USERS[1],)

    world(body)


def test_a_user_added_since_is_missed_when_deleted(world):
    async def body(world):
        poll = world.poller()
        await poll()
        added = world.site.add_user("added", None)
        assert (await poll()).changed == (added,)
        assert "totals" not in world.reader.questions
        await world.link(added)
        world.site.delete(added)
        assert (await poll()).gone == (added,)

    world(body)


def test_a_user_who_is_new_is_submitted_though_their_time_is_old(world):
    """Brought from another site, or by SQL."""

    async def body(world):
        poll = world.poller()
        await poll()
        added = world.site.add_user("added", None)
        world.execute("UPDATE users_field_data SET changed = 1000000 WHERE name = 'added'")
        assert (await poll()).changed == (added,)
        assert (await poll()).changed == ()
        assert (await world.poller()()).changed == (), "by another process"

    world(body)


def test_whoever_is_new_is_found_until_they_have_been_submitted(world):
    async def body(world):
        await world.poller()()
        added = world.site.add_user("added", None)
        world.execute("UPDATE users_field_data SET changed = 1000000 WHERE name = 'added'")
        with pytest.raises(ConnectionError):
            await world.poller(roster=DiesWriting)()
        assert await world.submitted(added) == {added}
        assert (await world.poller()()).changed == (added,)

    world(body)


def test_a_user_submitted_between_two_counts_is_missed_when_deleted(world):
    """Counting has its pauses. Whoever is submitted is in the roster before."""

    async def body(world):
        world.reader = Slow(world.url, world.later)
        poll = world.poller()
        await poll()
        added = world.site.add_user("added", None)
        assert (await poll()).changed == (added,)
        assert "total" not in world.reader.questions
        await world.link(added)
        world.site.delete(added)
        while (found := await poll()) == Found():
            pass
        assert found.gone == (added,)

    world(body)


def test_counting_takes_a_tenth_of_the_time_and_no_more(world):
    async def body(world):
        world.reader = Slow(world.url, world.later)
        poll = world.poller()
        await poll()
        began, asked = world.now, 0
        for _ in range(40):
            await poll()
            asked += world.reader.questions.count("total")
        assert asked >= 2
        assert asked * 400 <= 0.1 * (world.now - began) + 400

    world(body)


def test_very_many_at_once_are_judged_together(world):
    async def body(world):
        await world.link(*USERS)
        poll = world.poller()
        await poll()
        world.site.delete(*USERS[: BUDGET + 1])
        assert len((await poll()).gone) == BUDGET + 1
        jobs = await world.state().ledger.claim(USERS, "worker", 30)
        runs = {job.run_id for job in jobs}
        assert len(jobs) == BUDGET + 1
        assert len(runs) == 1
        assert None not in runs

    world(body)

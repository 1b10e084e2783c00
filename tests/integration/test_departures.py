"""Who has left a site that can count: on real databases and a real Valkey, from the deletion to the submission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, event, text

from cli.demo.site import DrupalSite
from config.settings import (
    DrupalDatabaseSettings,
    DrupalJsonApiSettings,
    GuardSettings,
    MappedValue,
    TargetSettings,
    Trigger,
    TriggerSettings,
)
from drupal.database import DatabaseReader
from drupal.database_engine import nocase_utf8
from drupal.opening import open_reader
from producers.changes import ChangeDetection, Found
from producers.counting import CountedDepartures
from producers.departures import Watched
from provisioning.errors import SourceUnreadable
from provisioning.mapping import compile_target
from provisioning.model import DOUBT, Link, Total, UserRef
from provisioning.ports import CountingReader
from state.marks import MarkStore
from state.roster import WIDTH, Page, RosterStore
from state.target_state import TargetState
from tests.support.databases import KINDS, fresh_database
from tests.support.valkey import with_redis

# The administrator has uid 1; these have 2 and up.
USERS = [f"0f000000-0000-4000-8000-{number:012d}" for number in range(12)]
REUSED = "0f000000-0000-4000-8000-00000000ffff"
ROSTER = "scimpipe:{@drupal}:roster"
BUDGET = 5


class Sent:
    """Where messages go."""

    def enqueue(self, message: Any, *, delay: int | None = None) -> None:
        pass


class Asked(DatabaseReader):
    """Remembers what was asked of the database."""

    def __init__(self, url: str) -> None:
        super().__init__(DrupalDatabaseSettings(url=url), frozenset({"name"}))
        self.questions: list[str] = []

    async def changed_since(self, since: int) -> Sequence[UserRef]:
        self.questions.append("changed_since")
        return await super().changed_since(since)

    async def total(self) -> Total:
        self.questions.append("total")
        return await super().total()

    async def totals(self, width: int) -> Mapping[int, Total]:
        self.questions.append("totals")
        return await super().totals(width)

    async def uuids(self, first: int, last: int) -> Mapping[int, str]:
        self.questions.append(f"uuids from {first}")
        return await super().uuids(first, last)

    def ids(self, after: int = 0) -> Any:
        self.questions.append("ids")
        return super().ids(after)


class Slow(Asked):
    """Of a database that counts for 400 s. advance: moves the clock."""

    def __init__(self, url: str, advance: Callable[[float], None]) -> None:
        super().__init__(url)
        self._advance = advance

    async def total(self) -> Total:
        self._advance(400)
        return await super().total()


class DiesWriting(RosterStore):
    """The process ends when it is about to write that somebody has left."""

    async def write(self, pages: Mapping[int, Page], targets: frozenset[str] | None = None) -> bool:
        if targets is None and pages:
            raise ConnectionError
        return await super().write(pages, targets)


def settings(name: str) -> TargetSettings:
    return TargetSettings(
        name=name,
        base_url="https://acme.example",
        mapping={"userName": MappedValue(value="name")},
        automatic=TriggerSettings(operations=frozenset({"create", "delete"})),
        guard=GuardSettings(max_removals=BUDGET, max_removal_percent=100),
    )


async def digest_key() -> bytes:
    return b"k" * 32


class World:
    """A site with twelve users beside its administrator, and Redis. now: the clock of the site and of all pollers."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.url = url
        self.now = 1_700_000_000.0
        self.site = DrupalSite.create(url, clock=self.clock)
        for number, user in enumerate(USERS):
            self.site.add_user(f"user{number}", None, uuid=user)
        self.reader = Asked(url)
        self.later()

    def clock(self) -> float:
        return self.now

    def later(self, seconds: float = 1000) -> None:
        self.now += seconds

    def state(self, name: str = "acme") -> TargetState:
        return TargetState.of(self.client, Sent(), settings(name))  # type: ignore[arg-type]

    def poller(self, *names: str, roster: type[RosterStore] = RosterStore) -> Callable[[], Awaitable[Any]]:
        """What one process polls with; it remembers what it has read. Gives what was found for the first target, and
        time passes.
        """
        names = names or ("acme",)
        watched = [Watched(self.state(name), compile_target(settings(name)), digest_key) for name in names]
        departures = CountedDepartures(watched, self.reader, roster(self.client), self.clock)
        marks = {name: MarkStore(self.client, name) for name in names}
        log = structlog.get_logger()
        detection = ChangeDetection(watched, self.reader, departures, marks, log, self.clock)

        async def poll() -> Any:
            self.later()
            self.reader.questions.clear()
            found = await detection.poll()
            return found if len(names) > 1 else found.get(names[0], Found())

        return poll

    async def link(self, *users: str, target: str = "acme") -> None:
        """As a worker does when it has made the account."""
        for user in users:
            assert await self.state(target).links.put(user, Link(f"id-{user[-4:]}", None, "f", {}))

    async def submitted(self, *users: str, target: str = "acme") -> set[str]:
        return set(await self.state(target).ledger.states(users))

    def execute(self, *statements: str) -> None:
        engine = create_engine(self.url)
        if engine.dialect.name == "sqlite":
            event.listen(
                engine,
                "connect",
                lambda connection, _: connection.create_collation("NOCASE_UTF8", nocase_utf8),
            )
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    async def roster(self) -> list[str]:
        """Everybody in it."""
        store = RosterStore(self.client)
        pages = await store.pages((await store.read()).totals)
        return [user for page in pages.values() for user in page.users().values()]


def run(kind: str, folder: Path, redis_url: str, body: Callable[[World], Awaitable[None]]) -> None:
    async def with_world(client: Any, url: str) -> None:
        world = World(client, url)
        try:
            await body(world)
        finally:
            await world.reader.close()
            world.site.close()

    with fresh_database(kind, folder) as url:
        with_redis(redis_url, partial(with_world, url=url))


@pytest.fixture
def on_each(redis_url, tmp_path):
    return lambda kind, body: run(kind, tmp_path, redis_url, body)


@pytest.fixture
def world(redis_url, tmp_path):
    return lambda body: run("sqlite", tmp_path, redis_url, body)


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

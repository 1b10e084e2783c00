"""A site that can count its users, on a real database and a real Valkey, polled by whom a test makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from cli.demo.site import DrupalSite
from config.settings import (
    DrupalDatabaseSettings,
    GuardSettings,
    MappedValue,
    TargetSettings,
    TriggerSettings,
)
from drupal.database import DatabaseReader
from producers.changes import ChangeDetection, Found
from producers.counting import CountedDepartures
from producers.departures import Watched
from provisioning.mapping import compile_target
from provisioning.model import Link, Total, UserRef
from state.marks import MarkStore
from state.roster import Page, RosterStore
from state.same_site import SameSite
from state.target_state import TargetState
from tests.support.databases import execute, fresh_database
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
        same_site = SameSite(self.client, self.reader)
        detection = ChangeDetection(watched, self.reader, same_site, departures, marks, log, self.clock)

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
        execute(self.url, *statements)

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

"""A full sync of a site of some pages, on a real Valkey: what is submitted, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from config.settings import (
    GuardSettings,
    LeaverSettings,
    MappedValue,
    ScheduledSettings,
    TargetSettings,
)
from producers.full_sync import FullSync
from provisioning.mapping import CompiledTarget, compile_target
from provisioning.model import Link, SourceUser
from state.same_site import SameSite
from state.target_state import TargetState
from tests.support.fakes import FakeSite
from tests.support.valkey import with_redis

USERS = [f"0f000000-0000-4000-8000-{number:012d}" for number in range(20)]
KEY = b"k" * 32
ALL = frozenset({"create", "update", "deactivate", "delete"})
Meanwhile = Callable[[], Awaitable[None]]


class Sent:
    def __init__(self) -> None:
        self.messages: list[list[str]] = []

    @property
    def users(self) -> list[str]:
        return [user for message in self.messages for user in message]

    def enqueue(self, message: Any, *, delay: int | None = None) -> None:
        self.messages.append(message.args[1])


@dataclass
class PagedSite(FakeSite):
    """Pages of five. meanwhile: by number of pages read, what happens before the next one is judged."""

    meanwhile: dict[int, Meanwhile] = field(default_factory=dict)

    async def scan(self, after: int = 0) -> AsyncIterator[Sequence[SourceUser]]:
        ordered = [user async for page in super().scan(after) for user in page]
        for number, start in enumerate(range(0, len(ordered), 5)):
            if number in self.meanwhile:
                await self.meanwhile.pop(number)()
            yield ordered[start : start + 5]


class World:
    def __init__(self, client: Any, **leavers: Any) -> None:
        self.settings = TargetSettings(
            name="acme",
            base_url="https://acme.example",
            mapping={"userName": MappedValue(value="name"), "externalId": MappedValue(value="uuid")},
            scheduled=ScheduledSettings(operations=ALL),
            leavers=LeaverSettings(**leavers),
            guard=GuardSettings(max_removals=5, max_removal_percent=100),
        )
        self.client = client
        self.site, self.sent = PagedSite(), Sent()
        for number, user in enumerate(USERS):
            self.site.add(user, name=f"user{number}")
        self.state = TargetState.of(client, self.sent, self.settings)
        self.compiled = compile_target(self.settings)

    async def link(self, *users: str) -> None:
        """As a worker would for users who are there; those who are not are settled."""
        for uuid in users:
            user = (await self.site.read([uuid])).get(uuid)
            print_now = self.compiled.source(uuid, user, KEY).fingerprint
            link = Link(f"id-{uuid}", None, print_now, {"userName": "aaaaaaa"}, user is not None)
            assert await self.state.links.put(uuid, link)

    async def drop(self, user: str) -> None:
        assert await self.state.links.drop(user, f"id-{user}")

    async def run_sync(
        self,
        kind_of_sync: type[FullSync] = FullSync,
        compiled: CompiledTarget | None = None,
        key: bytes = KEY,
    ) -> Any:
        log = structlog.get_logger()
        sync = kind_of_sync(
            self.state,
            compiled or self.compiled,
            self.site,
            SameSite(self.client, self.site),
            key,
            "owner",
            log,
        )
        run_id, kind = await sync.start("scheduled")
        await sync.scan(run_id, kind)
        return await self.state.runs.get(run_id)

    async def all_links_read(self) -> bool:
        return "cmdstat_hscan" in await self.client.info("commandstats")


def with_scanned_site(redis_url: str, body: Callable[[World], Awaitable[None]], **leavers: Any) -> None:
    """Everybody is linked."""

    async def prepared(client: Any) -> None:
        made = World(client, **leavers)
        await made.link(*USERS)
        await client.config_resetstat()
        await body(made)

    with_redis(redis_url, prepared)

"""Producers on a real Valkey, with a site in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from config.settings import (
    GuardSettings,
    MappedValue,
    ScheduledSettings,
    TargetSettings,
    TriggerSettings,
)
from producers.changes import ChangeDetection, Found
from producers.departures import ListedDepartures, Watched
from producers.full_sync import FullSync
from provisioning.mapping import compile_target
from provisioning.model import Link
from state.marks import MarkStore
from state.same_site import SameSite
from state.target_state import TargetState
from tests.support.fakes import FakeSite
from tests.support.scanning import ALL, KEY, USERS, Sent


class World:
    def __init__(self, client: Any) -> None:
        settings = TargetSettings(
            name="acme",
            base_url="https://acme.example",
            mapping={
                "userName": MappedValue(value="name"),
                "externalId": MappedValue(value="uuid"),
                "title": MappedValue(value="mail"),
            },
            scope="'left' not in roles",
            automatic=TriggerSettings(operations=ALL),
            scheduled=ScheduledSettings(operations=ALL),
            guard=GuardSettings(max_removals=5, max_removal_percent=25),
        )
        self.now = 1_000_000.0
        self.site, self.sent = FakeSite(), Sent()
        for number, user in enumerate(USERS):
            self.site.add(user, name=f"user{number}", mail="m", changed=900_000)
        self.state = TargetState.of(client, self.sent, settings)
        self.compiled = compile_target(settings)
        log = structlog.get_logger()
        now: Callable[[], float] = lambda: self.now  # noqa: E731  # both clocks of the world
        watched = [Watched(self.state, self.compiled, self.key)]
        departures = ListedDepartures(watched, self.site, now)
        marks = {"acme": MarkStore(client, "acme")}
        same_site = SameSite(client, self.site)
        self.detection = ChangeDetection(watched, self.site, same_site, departures, marks, log, now)
        self.sync = FullSync(self.state, self.compiled, self.site, same_site, KEY, "owner", log)

    async def key(self) -> bytes:
        return KEY

    async def link_all(self) -> None:
        """As after a full sync."""
        users = await self.site.read(USERS)
        for uuid, user in users.items():
            print_now = self.compiled.fingerprint(user, KEY)
            digests = {"userName": "xxxxxxx", "title": "xxxxxxx"}
            await self.state.links.put(uuid, Link(f"id-{uuid[-3:]}", None, print_now, digests))

    async def poll(self) -> Found:
        return (await self.detection.poll()).get("acme", Found())

    def edit(self, user: str, changed: int, **values: Any) -> None:
        self.site.users[user].update({**values, "changed": changed})

    async def run_sync(self) -> Any:
        run_id, kind = await self.sync.start("scheduled")
        await self.sync.scan(run_id, kind)
        return await self.state.runs.get(run_id)

"""A batch on a real Valkey, with a site and a target in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from config.settings import (
    GuardSettings,
    LimitSettings,
    MappedValue,
    TargetSettings,
    Trigger,
    TriggerSettings,
)
from provisioning.mapping import compile_target
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from state.gate import Gate
from state.keys import SOURCE
from state.same_site import SameSite
from state.target_state import TargetState
from tests.support.fakes import FakeRewritten, FakeSite, FakeTarget
from tests.support.reconciling import ALL, KEY
from workers.batch import Batch
from workers.portion import Portion
from workers.runtime import TargetWork

USERS = [f"0e000000-0000-4000-8000-{number:012d}" for number in range(10)]


class Sent:
    """Where messages go."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], float | None]] = []

    def enqueue(self, message: Any, *, delay: int | None = None) -> None:
        self.messages.append((message.args[1], delay))


class World:
    def __init__(self, client: Any) -> None:
        settings = TargetSettings(
            name="acme",
            base_url="https://acme.example",
            mapping={"userName": MappedValue(value="name"), "externalId": MappedValue(value="uuid")},
            manual=TriggerSettings(operations=ALL),
            limits=LimitSettings(max_attempts=3),
            guard=GuardSettings(),
        )
        self.site, self.target, self.sent = FakeSite(), FakeTarget(), Sent()
        for number, user in enumerate(USERS):
            self.site.add(user, name=f"user{number}")
        self.state = TargetState.of(client, self.sent, settings)
        compiled = compile_target(settings)
        ports = Ports(self.site, self.target, self.state.links, self.state.guard, FakeRewritten())
        reconciler = Reconciler(settings, compiled, KEY, ports, random=lambda: 0.5)
        self.portion = Portion(settings.limits.concurrency)
        self.client = client
        self.work = TargetWork(settings, compiled, self.state, self.target, reconciler, self.portion)
        self.source_gate = Gate(client, SOURCE)
        self.same_site = SameSite(client, self.site)
        self.stopping = asyncio.Event()
        self.batch = self.another_batch()

    def another_batch(self) -> Batch:
        """Of the same process."""
        log = structlog.get_logger()
        return Batch(self.work, self.site, self.same_site, self.source_gate, "w", log, self.stopping)

    def hold_the_source(self) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on the site is read once the second event is set; the first tells that somebody asks."""
        asked, answer = asyncio.Event(), asyncio.Event()
        read = self.site.read

        async def read_later(ids: Sequence[str]) -> Any:
            asked.set()
            await answer.wait()
            return await read(ids)

        self.site.read = read_later
        return asked, answer

    async def submit(self) -> None:
        await self.state.submit(USERS, Trigger.MANUAL)
        self.sent.messages.clear()

    async def attempts(self) -> set[int]:
        """Of the pending users, once nothing holds them back any more."""
        await self.state.gate.resume()
        await self.source_gate.resume()
        await asyncio.sleep(0)
        await self.state.ledger.mark_pending(USERS, Trigger.MANUAL)
        return {job.attempt for job in await self.state.ledger.claim(USERS, "probe", 1)}

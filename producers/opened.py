"""What a producer's process works with, opened once: the composition of producers/main.py and of the commands."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dramatiq

from config.collector import collect_less_often
from config.digest import config_digest
from config.settings import Settings, Trigger
from drupal.opening import open_reader
from producers.changes import ChangeDetection
from producers.counting import CountedDepartures
from producers.departures import Departures, ListedDepartures, Watched
from producers.full_sync import FullSync
from producers.sweep import Sweeper
from provisioning.mapping import CompiledTarget, compile_all
from provisioning.ports import CountingReader, SourceReader
from state.broker import make_broker
from state.client import Redis
from state.connection import open_redis
from state.gate import Gate
from state.keys import SOURCE
from state.links import digest_key
from state.marks import MarkStore
from state.processes import Announced, process_id
from state.roster import RosterStore
from state.same_site import SameSite
from state.target_state import TargetState

if TYPE_CHECKING:
    from scim.target import ScimTarget

_NUMBERS = itertools.count(1)


@dataclass
class Opened:
    """Connections of one process. log: for what the producers report."""

    settings: Settings
    redis: Redis
    broker: dramatiq.Broker
    reader: SourceReader
    compiled: dict[str, CompiledTarget]
    log: Any
    owner: str = field(default_factory=process_id)
    _states: dict[str, TargetState] = field(default_factory=dict)
    _targets: dict[str, ScimTarget] = field(default_factory=dict)

    @property
    def source_gate(self) -> Gate:
        return Gate(self.redis, SOURCE)

    @property
    def announced(self) -> Announced:
        """What this process says of itself."""
        return Announced(config_digest(self.settings))

    def state(self, name: str) -> TargetState:
        if name not in self._states:
            self._states[name] = TargetState.of(self.redis, self.broker, self.settings.targets[name])
        return self._states[name]

    def target(self, name: str) -> ScimTarget:
        if name not in self._targets:
            # With its HTTP client it is a fifth of the start of a command, and most of them ask no target.
            from scim.target import open_target

            quirks = self.state(name).quirks
            self._targets[name] = open_target(self.settings.targets[name], quirks=quirks)
        return self._targets[name]

    async def key(self) -> bytes:
        """The digest key, asked each time: a Redis that was emptied has another one."""
        return await digest_key(self.redis)

    async def full_sync(self, name: str) -> FullSync:
        state, compiled = self.state(name), self.compiled[name]
        allowed = self.settings.targets[name].operations(Trigger.SCHEDULED)
        # Of each by itself: one process may begin two, and one of them must not end the other's.
        owner = f"{self.owner}/{next(_NUMBERS)}"
        return FullSync(
            state, compiled, self.reader, self.same_site, await self.key(), owner, self.log, allowed
        )

    @cached_property
    def same_site(self) -> SameSite:
        return SameSite(self.redis, self.reader)

    def sweeper(self, name: str) -> Sweeper:
        return Sweeper(self.state(name), self.target(name), self.source_gate, self.log)

    def change_detection(self, names: Sequence[str]) -> ChangeDetection:
        """names: the targets whose automatic trigger is on."""
        watched = [Watched(self.state(name), self.compiled[name], self.key) for name in names]
        departures: Departures = (
            CountedDepartures(watched, self.reader, RosterStore(self.redis))
            if isinstance(self.reader, CountingReader)
            else ListedDepartures(watched, self.reader)
        )
        marks = {name: MarkStore(self.redis, name) for name in names}
        return ChangeDetection(watched, self.reader, self.same_site, departures, marks, self.log)

    async def close(self) -> None:
        for target in self._targets.values():
            await target.close()
        await self.reader.close()
        await self.redis.aclose()
        self.broker.close()


def reader_for(settings: Settings, compiled: dict[str, CompiledTarget]) -> SourceReader:
    """One reader for all targets: it reads the fields that any of them maps."""
    return open_reader(settings.drupal, frozenset[str]().union(*(each.names for each in compiled.values())))


@asynccontextmanager
async def opened(settings: Settings, log: Any) -> AsyncIterator[Opened]:
    """Raises MappingError, RedisUnavailable."""
    compiled = compile_all(settings.targets)
    redis = await open_redis(settings)
    broker = make_broker(settings)
    opened = Opened(settings, redis, broker, reader_for(settings, compiled), compiled, log)
    collect_less_often()
    try:
        yield opened
    finally:
        await opened.close()

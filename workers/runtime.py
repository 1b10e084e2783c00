"""Everything one process works with, opened on first use and closed together: Redis, the site, the targets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import dramatiq

from config.settings import Settings, TargetSettings
from drupal.opening import open_reader
from provisioning.mapping import CompiledTarget, compile_all
from provisioning.ports import Ports, SourceReader
from provisioning.reconcile import Reconciler
from scim.target import ScimTarget, open_target
from state.client import Redis
from state.connection import open_redis
from state.gate import Gate
from state.keys import SOURCE
from state.links import digest_key
from state.rate import Rate
from state.same_site import SameSite
from state.target_state import TargetState
from workers.concurrency import Concurrency
from workers.portion import Portion
from workers.throttle import Limit, Throttle


class UnknownTargetError(Exception):
    """A message for a target that scimpipe.toml does not have any more."""


@dataclass(frozen=True, slots=True)
class TargetWork:
    """One target, open: its settings, its state in Redis, itself on the wire, the reconciler over them, and how many users
    it takes at once.
    """

    settings: TargetSettings
    compiled: CompiledTarget
    state: TargetState
    target: ScimTarget
    reconciler: Reconciler
    portion: Portion


@dataclass
class Runtime:
    """One process's connections. To be used on one event loop."""

    settings: Settings
    broker: dramatiq.Broker
    redis: Redis = None
    _reader: SourceReader | None = None
    _source_gate: Gate | None = None
    _same_site: SameSite | None = None
    _targets: dict[str, TargetWork] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    compiled: dict[str, CompiledTarget] = field(default_factory=dict)
    concurrency: Callable[[int], Limit] = Concurrency

    def __post_init__(self) -> None:
        """Raises MappingError: nothing runs on a mapping that cannot be compiled."""
        self.compiled = compile_all(self.settings.targets)

    async def connect(self) -> Redis:
        """Raises RedisUnavailable."""
        async with self._opening:
            if self.redis is None:
                self.redis = await open_redis(self.settings)
        return self.redis

    @property
    def reader(self) -> SourceReader:
        """One reader for all targets: it reads the fields that any of them maps."""
        if self._reader is None:
            names = frozenset[str]().union(*(compiled.names for compiled in self.compiled.values()))
            self._reader = open_reader(self.settings.drupal, names)
        return self._reader

    async def open_all(self) -> None:
        """Opens what the first job would have to wait for, half a second with the drivers' modules. Asks nobody but Redis.
        Raises RedisUnavailable, and what opening the site raises.
        """
        _ = self.reader
        for name in self.settings.targets:
            await self.target(name)

    async def source_gate(self) -> Gate:
        """One for all messages: it knows whether there is a failure to take back."""
        if self._source_gate is None:
            self._source_gate = Gate(await self.connect(), SOURCE)
        return self._source_gate

    async def same_site(self) -> SameSite:
        if self._same_site is None:
            self._same_site = SameSite(await self.connect(), self.reader)
        return self._same_site

    async def target(self, name: str) -> TargetWork:
        """Raises UnknownTargetError."""
        if name not in self.settings.targets:
            raise UnknownTargetError(name)
        # Asked each time: a Redis that was emptied has another key, and digests of the old one would all differ.
        key = await digest_key(await self.connect())
        # Nothing is waited for from here on: two first messages would open it twice, each with a concurrency of its own.
        known = self._targets.get(name)
        if known is None or known.reconciler.key != key:
            self._targets[name] = self._open(name, key, known)
        return self._targets[name]

    def _open(self, name: str, key: bytes, before: TargetWork | None) -> TargetWork:
        settings, compiled = self.settings.targets[name], self.compiled[name]
        state = TargetState.of(self.redis, self.broker, settings)
        rate = Rate(self.redis, name, settings.limits.requests_per_second)
        throttle = Throttle(self.concurrency(settings.limits.concurrency), rate)
        if before:
            before.target.look_ups.forget()
        target = before.target if before else open_target(settings, quirks=state.quirks, limiter=throttle)
        ports = Ports(self.reader, target, state.links, state.guard, state.rewritten)
        # Jitter needs no cryptography.
        spread: Callable[[], float] = random.random
        reconciler = Reconciler(settings, compiled, key, ports, spread)
        portion = before.portion if before else Portion(settings.limits.concurrency)
        return TargetWork(settings, compiled, state, target, reconciler, portion)

    async def close(self) -> None:
        for work in self._targets.values():
            await work.target.close()
        if self._reader is not None:
            await self._reader.close()
        if self.redis is not None:
            await self.redis.aclose()

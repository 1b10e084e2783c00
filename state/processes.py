"""Which processes are alive, and which of several schedulers leads."""

from __future__ import annotations

import os
import socket
import uuid
from typing import NamedTuple, Self

from state.client import Redis
from state.keys import PREFIX

ALIVE_SECONDS = 15
BEAT_SECONDS = 5
# Set for child processes by whoever starts them and is to stop them.
PARENT_VARIABLE = "SCIMPIPE_PARENT"
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


def process_id() -> str:
    """Names this process among all machines; also the owner of its leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def abandoned() -> bool:
    """Whether the process that started this one, and named itself in SCIMPIPE_PARENT, is gone."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return False
    try:
        os.kill(int(parent), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Announced(NamedTuple):
    """What a process says of itself. config: config.digest of what it was started with. lanes: of a worker."""

    config: str = ""
    lanes: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        config, _, lanes = text.partition(" ")
        return cls(config, tuple(lanes.split(",")) if lanes else ())

    @property
    def text(self) -> str:
        return f"{self.config} {','.join(self.lanes)}"


class Processes:
    """Announcements that expire by themselves."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def announce(self, kind: str, identifier: str, announced: Announced) -> None:
        """kind: worker, scheduler, changes. To be repeated every BEAT_SECONDS."""
        await self._redis.set(f"{PREFIX}:process:{kind}:{identifier}", announced.text, ex=ALIVE_SECONDS)

    async def withdraw(self, kind: str, identifier: str) -> None:
        await self._redis.delete(f"{PREFIX}:process:{kind}:{identifier}")

    async def count(self, kind: str) -> int:
        return len(await self._names(kind))

    async def alive(self, kind: str) -> tuple[Announced, ...]:
        texts = [await self._redis.get(name) for name in await self._names(kind)]
        return tuple(Announced.read(text) for text in texts if text is not None)

    async def _names(self, kind: str) -> list[str]:
        return [name async for name in self._redis.scan_iter(f"{PREFIX}:process:{kind}:*", count=1000)]


class Leadership:
    """At most one of several processes leads; a dead leader is followed after `seconds`."""

    def __init__(self, redis: Redis, name: str, identifier: str, seconds: float = 15) -> None:
        self._redis = redis
        self._key = f"{PREFIX}:leader:{name}"
        self._identifier = identifier
        self._milliseconds = round(seconds * 1000)
        self._script = redis.register_script(_RENEW)

    async def hold(self) -> bool:
        """Takes or renews the lead. False: another process leads."""
        return bool(await self._script(keys=[self._key], args=[self._identifier, self._milliseconds]))

    async def step_down(self) -> None:
        if await self._redis.get(self._key) == self._identifier:
            await self._redis.delete(self._key)

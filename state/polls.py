"""How change detection gets on: that its process is alive says nothing of whether its polls come to an end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from state.client import Redis
from state.keys import SOURCE, key


@dataclass(frozen=True, slots=True)
class Polled:
    """Times in Unix seconds. at: the end of the last poll that found out what had changed. failing_since: of all polls since then."""

    at: float | None
    failing_since: float | None
    reason: str


class Polls:
    """Of the one process that polls."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = key(SOURCE, "polls")

    async def ended(self) -> None:
        await self._redis.hset(self._key, "at", time.time())
        await self._redis.hdel(self._key, "failing_since", "reason")

    async def failed(self, reason: str) -> bool:
        """Whether it is the first one in a row."""
        await self._redis.hset(self._key, "reason", reason)
        return bool(await self._redis.hsetnx(self._key, "failing_since", time.time()))

    async def read(self) -> Polled:
        fields = await self._redis.hgetall(self._key)
        at, since = (float(fields[name]) if name in fields else None for name in ("at", "failing_since"))
        return Polled(at, since, fields.get("reason", ""))

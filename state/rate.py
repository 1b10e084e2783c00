"""A rate all workers share: each request takes the next free moment (limits.requests_per_second)."""

from __future__ import annotations

from state.client import Redis
from state.keys import key

# ARGV: ms between two requests. Gives ms until this one may go; a moment that passed unused is not made up for.
_NEXT = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + tonumber(T[2]) / 1000
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local at = math.max(now, last + tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%.3f', at), 'PX', 60000)
return math.ceil(at - now)
"""


class Rate:
    """requests_per_second of one target, over all processes."""

    def __init__(self, redis: Redis, target: str, requests_per_second: float) -> None:
        self._key = key(target, "rate")
        self._interval_ms = 1000 / requests_per_second
        self._script = redis.register_script(_NEXT)

    async def wait_seconds(self) -> float:
        """How long this request has to wait; its moment is taken."""
        return int(await self._script(keys=[self._key], args=[self._interval_ms])) / 1000

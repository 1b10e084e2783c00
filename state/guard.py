"""The removal budget (DESIGN 1.7): deactivations plus deletions in one rolling hour, or in one full sync."""

from __future__ import annotations

import math

from config.settings import GuardSettings, OperationName
from provisioning.model import Job
from provisioning.ports import Withheld
from state.client import Redis
from state.keys import key

HOUR_MS = 3_600_000

# ARGV: user:operation, limit, window_ms. The same removal tried again is not counted again.
_TAKE = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
"""


class RemovalGuard:
    """provisioning.ports.Guard of one target."""

    def __init__(self, redis: Redis, target: str, settings: GuardSettings) -> None:
        self._redis = redis
        self._target = target
        self._settings = settings
        self._take = redis.register_script(_TAKE)

    async def budget(self) -> tuple[int, str]:
        """Removals allowed, and how that comes about. The smaller of the two limits; a share is rounded up, so that
        a small site can lose one user.
        """
        linked = int(await self._redis.hlen(key(self._target, "owners")))
        percent = self._settings.max_removal_percent
        share = math.ceil(max(linked, 1) * percent / 100)
        if share < self._settings.max_removals:
            return share, f"{share} ({percent:g} % of {linked} linked users)"
        return self._settings.max_removals, f"{self._settings.max_removals} (max_removals)"

    async def take(self, job: Job, operation: OperationName) -> Withheld | None:
        """Raises nothing; None means go on."""
        if job.approved is operation:
            return None
        if await self._redis.hget(key(self._target, "rejected"), job.user) == operation.value:
            return Withheld(f"{operation.value} was rejected by a person", rejected=True)
        closed = (
            await self._redis.hget(key(self._target, f"run:{job.run_id}"), "over_budget")
            if job.run_id
            else None
        )
        if closed:
            return Withheld(f"{closed}; see `scimpipe held list`")
        limit, words = await self.budget()
        removal = f"{job.user}:{operation.value}"
        if await self._take(keys=[key(self._target, "removals")], args=[removal, limit, HOUR_MS]):
            return None
        return Withheld(f"more than {words} removals within an hour; see `scimpipe held list`")

    async def close_run(self, run_id: str, planned: int) -> bool:
        """Called when a producer knows how many removals a run would bring. True when that is over the budget: then
        every removal of the run is held, not only those beyond it, because such a run is more likely a mistake.
        """
        limit, words = await self.budget()
        if planned <= limit:
            return False
        reason = f"{planned} removals at once, and the guard allows {words}"
        await self._redis.hset(key(self._target, f"run:{run_id}"), "over_budget", reason)
        await self._redis.expire(key(self._target, f"run:{run_id}"), 30 * 86_400)
        return True

"""The removal budget (DESIGN 1.7): deactivations plus deletions in one rolling hour, or in one full sync; and how many
users may lose an attribute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from config.settings import GuardSettings, OperationName, Trigger
from provisioning.model import Job, Removal
from provisioning.ports import Withheld
from state.active_accounts import ActiveAccounts
from state.client import Redis
from state.keys import key

HOUR_MS = 3_600_000
EVERYBODY_PERCENT = 100
NO_LIMIT = 2**31

# KEYS: what is counted. ARGV: member, limit, window_ms. The same removal tried again is not counted again.
_TAKE = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
for _, counted in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', counted, '-inf', now - tonumber(ARGV[3]))
  local known = redis.call('ZSCORE', counted, ARGV[1])
  if not known and redis.call('ZCARD', counted) >= tonumber(ARGV[2]) then return 0 end
end
for _, counted in ipairs(KEYS) do
  redis.call('ZADD', counted, 'NX', now, ARGV[1])
  redis.call('PEXPIRE', counted, ARGV[3])
end
return 1
"""
# KEYS: the removals, and how many accounts were active when they began. ARGV: how many are now, window_ms. Accounts removed
# within the window count as they did before: else the more of what was allowed is done, the less would be allowed.
_OF_HOW_MANY = """
local T = redis.call('TIME')
local since = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000) - tonumber(ARGV[2])
local active = tonumber(ARGV[1])
local at_most = active + redis.call('ZCOUNT', KEYS[1], '(' .. since, '+inf')
local began = tonumber(redis.call('GET', KEYS[2]) or 0)
if began < active then
  -- a removal that is counted may not be done, or have been of an account that was deactivated before
  began = began == 0 and at_most or active
  redis.call('SET', KEYS[2], began, 'PX', ARGV[2])
end
return math.max(active, math.min(began, at_most))
"""


class RemovalGuard:
    """provisioning.ports.Guard of one target."""

    def __init__(self, redis: Redis, target: str, settings: GuardSettings) -> None:
        self._redis = redis
        self._target = target
        self._settings = settings
        self._active_accounts = ActiveAccounts(redis, target)
        self._of_how_many = redis.register_script(_OF_HOW_MANY)
        self._take = redis.register_script(_TAKE)

    async def budget(self) -> tuple[int, str]:
        """Removals allowed, and how that comes about. The smaller of the two limits; a share is rounded up, so that
        a small site can lose one user.
        """
        share, words = await self.share()
        if share < self._settings.max_removals:
            return share, words
        return self._settings.max_removals, f"{self._settings.max_removals} (max_removals)"

    async def share(self) -> tuple[int, str]:
        """Users who may lose an attribute, and how that comes about: max_removal_percent, rounded up."""
        percent = self._settings.max_removal_percent
        if percent == EVERYBODY_PERCENT:
            # Also where they come and go: within an hour more may leave than are ever there at a time.
            return NO_LIMIT, "any number (100 %)"
        keys = [key(self._target, name) for name in ("removals", "removable")]
        active = int(await self._of_how_many(keys, [await self._active_accounts.count(), HOUR_MS]))
        limit = math.ceil(max(active, 1) * percent / 100)
        return limit, f"{limit} ({percent:g} % of {active} active accounts)"

    async def take(self, job: Job, removal: Removal) -> Withheld | None:
        """None means go on."""
        if job.approved is not None and job.approved.covers(removal):
            return None
        if job.approved is not None and not (job.approved.cleared or removal.cleared):
            # Whoever was asked about one thing has not been asked about another: leavers may be deleted by now.
            approved = f"{job.approved.operation} of account {job.approved.scim_id} was approved"
            return Withheld(f"{approved}, and by now it would be another; see `scimpipe held list`")
        pipe = self._redis.pipeline(transaction=False)
        for name in ("rejected", "held"):
            pipe.hget(key(self._target, name), job.user)
        rejected, held = await pipe.execute()
        if rejected and (withheld := _rejects(rejected, removal)):
            return withheld
        # What waits for a person does not come to pass because an hour is over; but by their own hand it may.
        if held and Trigger.MANUAL not in job.permits and (withheld := _waits(held, removal)):
            return withheld
        if job.run_id:
            run = key(self._target, f"run:{job.run_id}")
            fields = [f"clearing:{path}" for path in sorted(removal.cleared)] or ["over_budget"]
            closed = next((words for words in await self._redis.hmget(run, fields) if words), None)
            if closed:
                return Withheld(f"{closed}; see `scimpipe held list`")
        return await (self._take_clearing(job, removal) if removal.cleared else self._take_one(job, removal))

    async def rejected(self, removals: Mapping[str, Removal]) -> frozenset[str]:
        """Those of the users whose removal a person has rejected."""
        if not removals:
            return frozenset()
        found = await self._redis.hmget(key(self._target, "rejected"), list(removals))
        said = zip(removals.items(), found, strict=True)
        return frozenset(user for (user, removal), text in said if text and _rejects(text, removal))

    async def _take_one(self, job: Job, removal: Removal) -> Withheld | None:
        limit, words = await self.budget()
        member = f"{job.user}:{removal.operation.value}"
        if await self._take([key(self._target, "removals")], [member, limit, HOUR_MS]):
            return None
        return Withheld(f"more than {words} removals within an hour; see `scimpipe held list`")

    async def _take_clearing(self, job: Job, removal: Removal) -> Withheld | None:
        limit, words = await self.share()
        paths = sorted(removal.cleared)
        keys = [key(self._target, f"cleared:{path}") for path in paths]
        if await self._take(keys, [job.user, limit, HOUR_MS]):
            return None
        return Withheld(
            f"more than {words} would lose {' or '.join(paths)} within an hour; see `scimpipe held list`"
        )

    async def close_clearing(self, run_id: str, path: str, limit_words: str) -> None:
        """Called when a producer has found that a run would take an attribute away from more users than may lose it:
        then all of that run are held.
        """
        reason = f"more than {limit_words} would lose {path} at once"
        await self._close(run_id, f"clearing:{path}", reason)

    async def _close(self, run_id: str, field: str, reason: str) -> None:
        run = key(self._target, f"run:{run_id}")
        await self._redis.hset(run, field, reason)
        await self._redis.expire(run, 30 * 86_400)

    async def close_run(self, run_id: str, planned: int) -> bool:
        """Called when a producer knows how many removals a run would bring. True when that is over the budget: then
        every removal of the run is held, not only those beyond it, because such a run is more likely a mistake.
        """
        limit, words = await self.budget()
        if planned <= limit:
            return False
        reason = f"{planned} removals at once, and the guard allows {words}"
        await self._close(run_id, "over_budget", reason)
        return True


def rejection(operation: OperationName, cleared: Iterable[str], leaving: str | None) -> str:
    """As it is kept of a user. Whoever may stay without a role is asked about again when blocked."""
    return json.dumps([f"{operation}:{leaving}" if leaving else operation.value, *sorted(cleared)])


def _rejects(stored: str, removal: Removal) -> Withheld | None:
    said, *kept = json.loads(stored)
    operation, _, leaving = said.partition(":")
    if _is_that(removal, operation, leaving, kept):
        what = ", ".join(sorted(removal.cleared)) or operation
        return Withheld(f"{what}: rejected by a person", rejected=True)
    if stays := removal.cleared.intersection(kept):
        also = ", ".join(sorted(removal.cleared - stays))
        return Withheld(
            f"a person has said that {', '.join(sorted(stays))} stays, and {also} would go as well by now; see `scimpipe held list`"
        )
    return None


def _waits(held: str, removal: Removal) -> Withheld | None:
    entry = json.loads(held)
    # Lua writes an empty list as an object.
    same = _is_that(removal, entry["operation"], entry.get("leaving"), entry.get("changes") or ())
    return Withheld(entry.get("detail", "")) if same else None


def _is_that(removal: Removal, operation: str, leaving: str | None, cleared: Iterable[str]) -> bool:
    """Without `leaving`, as versions before this one wrote it, however the user has left."""
    same = operation == removal.operation.value and (not leaving or leaving == removal.leaving)
    return same and removal.cleared <= set(cleared)

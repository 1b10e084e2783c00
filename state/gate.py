"""The gate of a target: open, throttled for a while, paused by a person, or quarantined after an outage.

One for the source as well, under the name state.keys.SOURCE.
"""

from __future__ import annotations

from dataclasses import dataclass

from state.client import Redis
from state.keys import key

# Outages in a row, over all workers, before the target is left alone.
FAILURES = 5
FIRST_PROBE_MS, LONGEST_PROBE_MS = 1_000, 30_000

_NOW = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
"""
_THROTTLE = (
    _NOW
    + """
local until_ms = now + tonumber(ARGV[1])
local before = tonumber(redis.call('HGET', KEYS[1], 'throttled_until') or '0')
if until_ms > before then redis.call('HSET', KEYS[1], 'throttled_until', until_ms) end
-- state.rate closes it as well, and logs nothing
local told = tonumber(redis.call('HGET', KEYS[1], 'told_until') or '0')
redis.call('HSET', KEYS[1], 'told_until', math.max(told, until_ms))
return told <= now and 1 or 0
"""
)
# What a good answer ends.
_FAILING = ("failures", "probe_wait")
# ARGV: reason, certain ('1' or '0'), failures in a row that are enough, first wait: for a probe; after one that proved too little it
# goes on growing.
_FAIL = (
    _NOW
    + """
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
if ARGV[2] ~= '1' and failures < tonumber(ARGV[3]) then return 0 end
if redis.call('HSETNX', KEYS[1], 'quarantined', ARGV[1]) == 0 then return 0 end
local wait = tonumber(redis.call('HGET', KEYS[1], 'probe_wait') or ARGV[4])
redis.call('HSET', KEYS[1], 'since', now, 'probe_at', now + wait, 'probe_wait', wait)
return 1
"""
)
# ARGV: first wait, longest wait. One caller at a time, at most once a second, ever less often.
_PROBE = (
    _NOW
    + """
if redis.call('HEXISTS', KEYS[1], 'quarantined') == 0 then return 0 end
local at = tonumber(redis.call('HGET', KEYS[1], 'probe_at') or '0')
-- later than that it is only where the server's clock was set back
if at > now and at <= now + tonumber(ARGV[2]) then return 0 end
local wait = math.min(tonumber(redis.call('HGET', KEYS[1], 'probe_wait') or ARGV[1]) * 2, tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'probe_at', now + wait, 'probe_wait', wait)
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Health:
    """state: ok, paused or quarantined. reason: why, for a person. since: Unix seconds. throttled_seconds: how long
    nobody may send (Retry-After). careful: one more failure closes it; so also after a probe, which only reads, until something is done.
    """

    state: str = "ok"
    reason: str = ""
    since: float | None = None
    throttled_seconds: float = 0.0
    careful: bool = False

    @property
    def open(self) -> bool:
        return self.state == "ok"


class Gate:
    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._key = key(name, "gate")
        self._paces = (key(name, "pace"), key(name, "paced"))
        self._throttle = redis.register_script(_THROTTLE)
        self._fail = redis.register_script(_FAIL)
        self._probe = redis.register_script(_PROBE)
        self._failing = True

    async def health(self) -> Health:
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(self._key)
        (seconds, micros), fields = await pipe.execute()
        # Another process may have met them.
        self._failing = self._failing or not fields.keys().isdisjoint(_FAILING)
        now = seconds * 1000 + micros // 1000
        throttled = max(0.0, (int(fields.get("throttled_until", 0)) - now) / 1000)
        since = int(fields["since"]) / 1000 if "since" in fields else None
        if "paused" in fields:
            return Health("paused", "paused by a person", int(fields["paused"]) / 1000, throttled)
        if "quarantined" in fields:
            return Health("quarantined", fields["quarantined"], since, throttled)
        careful = int(fields.get("failures", 0)) >= FAILURES - 1
        return Health(throttled_seconds=throttled, careful=careful)

    async def throttle(self, seconds: float) -> bool:
        """Nobody sends for that long. True for the one who closes it, who may log it."""
        return bool(await self._throttle(keys=[self._key], args=[round(seconds * 1000)]))

    async def failed(self, reason: str, *, certain: bool) -> bool:
        """An outage was met. certain: enough by itself (401); otherwise several in a row are. True for the one whose
        report quarantines.
        """
        self._failing = True
        return bool(
            await self._fail(
                keys=[self._key], args=[reason, "1" if certain else "0", FAILURES, FIRST_PROBE_MS]
            )
        )

    async def worked(self) -> None:
        """A request succeeded: outages are no longer in a row. Costs nothing while all is well."""
        if self._failing:
            self._failing = False
            await self._redis.hdel(self._key, *_FAILING)

    async def probe_due(self) -> bool:
        """Whether this caller is to probe a quarantined target now."""
        return bool(await self._probe(keys=[self._key], args=[FIRST_PROBE_MS, LONGEST_PROBE_MS]))

    async def recover(self) -> bool:
        """Ends a quarantine, for as long as nothing fails. True when there was one."""
        return bool(await self._redis.hdel(self._key, "quarantined")) and await self._clear(
            "since", "probe_at"
        )

    async def pause(self) -> bool:
        seconds, _ = await self._redis.time()
        return bool(await self._redis.hsetnx(self._key, "paused", seconds * 1000))

    async def resume(self) -> bool:
        """Ends a pause, a quarantine and a wait that the target has asked for: whoever resumes wants it tried now."""
        before = await self.health()
        fields = ("since", "probe_at", "throttled_until", "told_until")
        await self._clear("paused", "quarantined", *_FAILING, *fields)
        if before.throttled_seconds:
            # And not at the rate that such a wait stands for.
            await self._redis.delete(*self._paces)
        return not before.open or before.throttled_seconds > 0

    async def _clear(self, *fields: str) -> bool:
        await self._redis.hdel(self._key, *fields)
        return True

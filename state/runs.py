"""Full syncs: one under way a target, resumable after a crash, with counters that count each user once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from state.client import Redis
from state.keys import key

SCANNER_SECONDS = 30
KEEP_SECONDS = 30 * 86_400
OTHER_CONFIG = "the config was changed before all users were compared; another full sync has begun"
COUNTERS = (
    "scanned", "unchanged", "created", "updated", "deactivated", "deleted", "linked", "skipped", "failed", "held",
    "requests",
)  # fmt: skip

# KEYS: run, scanner lock. ARGV: new id, owner, prefix of run keys, scanner_ms, trigger, policy, keep_seconds, why another one
# begins. Gives id and what it is to us: new, resume (its scan has no scanner) or busy. What was found by another policy is left as
# that run's: what the guard held of it, say, is none of the new one's.
_START = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
local current = redis.call('GET', KEYS[1])
local run = ARGV[3] .. (current or '')
local begun = redis.call('HEXISTS', run, 'started_at') == 1 and redis.call('HEXISTS', run, 'finished_at') == 0
if begun and redis.call('HEXISTS', run, 'scanned_all') == 1 then return {current, 'busy'} end
-- our own lock: this is asked once more, as no answer came
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[4]) and redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return {current or '', 'busy'}
end
if begun and redis.call('HGET', run, 'policy') == ARGV[6] then
  redis.call('HDEL', run, 'error')
  return {current, 'resume'}
end
if begun then
  redis.call('HSET', run, 'finished_at', now, 'error', ARGV[8])
  for _, kept in ipairs({run, run .. ':users'}) do redis.call('EXPIRE', kept, ARGV[7]) end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', ARGV[3] .. ARGV[1], 'started_at', now, 'cursor', 0, 'trigger', ARGV[5], 'policy', ARGV[6])
return {ARGV[1], 'new'}
"""
# KEYS: run hash, scanner lock. ARGV: owner, scanner_ms, cursor, then counter, amount... Only for who scans.
_ADVANCE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'cursor', ARGV[3])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""
# KEYS: scanner lock. ARGV: owner, scanner_ms.
_KEEP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""
# KEYS: run hash, scanner lock. ARGV: owner, why, or ''. Only for who scans.
_STOP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[2]) end
"""
# KEYS: run hash, scanner lock. ARGV: owner, keep_seconds.
_SCANNED = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'scanned_all', 1)
redis.call('HDEL', KEYS[1], 'error')
if redis.call('SCARD', KEYS[1] .. ':users') == 0 then redis.call('HSETNX', KEYS[1], 'finished_at', now) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[1] .. ':users', ARGV[2])
return 1
"""


class ScannerLostError(Exception):
    """Another process took over the scan of this run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A full sync. Times in Unix seconds. waiting: users submitted and not settled yet. policy: what its scan compares with
    (CompiledTarget.policy_digest).
    """

    run_id: str
    started_at: float
    finished_at: float | None
    cursor: int
    scanned_all: bool
    waiting: int
    counters: Mapping[str, int]
    error: str = ""
    policy: str = ""

    @property
    def outcome(self) -> str:
        if self.finished_at is None:
            return "pending"
        return (
            "failed" if self.error or self.counters["failed"] else "held" if self.counters["held"] else "done"
        )

    @property
    def duration_seconds(self) -> float | None:
        return None if self.finished_at is None else round(self.finished_at - self.started_at, 3)


class Runs:
    """The full syncs of one target."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._current, self._prefix, self._scanner = (
            key(target, name) for name in ("run", "run:", "scanner")
        )
        self._start = redis.register_script(_START)
        self._advance = redis.register_script(_ADVANCE)
        self._keep = redis.register_script(_KEEP)
        self._stop = redis.register_script(_STOP)
        self._scanned = redis.register_script(_SCANNED)

    async def start(self, owner: str, trigger: str, policy: str) -> tuple[str, str]:
        """(run id, "new" | "resume" | "busy"). Busy: a run is under way, wait for that one instead. Of another policy none is resumed."""
        run_id = uuid.uuid4().hex[:12]
        arguments = [
            run_id,
            owner,
            self._prefix,
            SCANNER_SECONDS * 1000,
            trigger,
            policy,
            KEEP_SECONDS,
            OTHER_CONFIG,
        ]
        started, kind = await self._start(keys=[self._current, self._scanner], args=arguments)
        return started, kind

    async def advance(self, run_id: str, owner: str, cursor: int, **counters: int) -> None:
        """Saves how far the scan has come. Raises ScannerLostError."""
        pairs = [part for name, amount in counters.items() for part in (name, amount)]
        keys = [self._prefix + run_id, self._scanner]
        if not await self._advance(keys=keys, args=[owner, SCANNER_SECONDS * 1000, cursor, *pairs]):
            raise ScannerLostError

    async def keep_scanning(self, owner: str) -> None:
        """Says that the scan goes on, though it may have come no further."""
        await self._keep(keys=[self._scanner], args=[owner, SCANNER_SECONDS * 1000])

    async def scanner_seconds(self) -> float:
        """How long whoever scans is waited for, if no more is heard of them; and a moment, so that it is over then."""
        return (max(0, int(await self._redis.pttl(self._scanner))) + 100) / 1000

    async def scanned(self, run_id: str, owner: str) -> None:
        """The scan is complete; the run ends when nobody is waited for. Raises ScannerLostError."""
        keys = [self._prefix + run_id, self._scanner]
        if not await self._scanned(keys=keys, args=[owner, KEEP_SECONDS]):
            raise ScannerLostError

    async def stop_scanning(self, run_id: str, owner: str, error: str = "") -> None:
        """Lets another process resume at once. error: why the scan could not go on; forgotten once it does."""
        await self._stop(keys=[self._prefix + run_id, self._scanner], args=[owner, error])

    async def get(self, run_id: str) -> Run | None:
        fields = await self._redis.hgetall(self._prefix + run_id)
        if "started_at" not in fields:
            return None
        finished = fields.get("finished_at")
        return Run(
            run_id=run_id,
            started_at=int(fields["started_at"]) / 1000,
            finished_at=int(finished) / 1000 if finished else None,
            cursor=int(fields.get("cursor", 0)),
            scanned_all="scanned_all" in fields,
            waiting=int(await self._redis.scard(f"{self._prefix}{run_id}:users")),
            counters={name: int(fields.get(name, 0)) for name in COUNTERS},
            error=fields.get("error", ""),
            policy=fields.get("policy", ""),
        )

    async def last(self) -> Run | None:
        """The run under way, else the last one."""
        current = await self._redis.get(self._current)
        return await self.get(current) if current else None

    async def count(self, run_id: str, **counters: int) -> None:
        for name, amount in counters.items():
            await self._redis.hincrby(self._prefix + run_id, name, amount)

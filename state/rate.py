"""The moments at which requests may be sent, shared by all processes of a target: none before the gate is open again
(Retry-After), and where a rate is known or set, each at a moment of its own.

scimpipe:{T}:pace   hash  at: ms of the last moment taken. per_second, doubt, level: the curve of state.allowance, level in
                          seconds, 0 while the rate is searched for: then it doubles in `doubt` seconds. burst, burst_ms: what
                          the target let pass at once, to all processes together, from burst_from (ms) on. emptied: moment
                          of the request that was answered 429. opened: ms from when requests are let through again. sent:
                          moments taken since; used: ms they took at their rate, for which the curve has been followed.
                          Expires ten minutes after its last use.
scimpipe:{T}:paced  zset  moments taken since `opened`, by their number, of the last half minute: number -> ms. Expires.
"""

from __future__ import annotations

from dataclasses import dataclass

from state.allowance import (
    LONGEST_PAUSE_SECONDS,
    PAUSE_OF_DOUBLINGS,
    SHORTEST_DOUBLING_SECONDS,
    Allowance,
    Emptied,
    found,
)
from state.client import Redis
from state.keys import key

# Work that can wait takes moments so far ahead; whoever waits for a person takes the next one, if it is not farther.
AHEAD_MS, URGENT_AHEAD_MS = 50, 5_000
# Moments that passed while nobody asked are made up for so far back: the time it takes to ask.
MADE_UP_MS = 20
FORGOTTEN_MS, REMEMBERED_MS = 600_000, 30_000

_COMMON = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + tonumber(T[2]) / 1000
local opens = tonumber(redis.call('HGET', KEYS[2], 'throttled_until') or '0')
local function text(ms) return string.format('%.3f', ms) end
local function pace(p)
  -- requests a second, from per_second, doubt, level and used; nil while nothing is known
  local rate, level = tonumber(p[1] or ''), tonumber(p[3] or '0')
  if not rate then return nil end
  local s = tonumber(p[4] or '0') / 1000
  if level == 0 then return rate * 2 ^ math.min(60, s / tonumber(p[2])) end
  return rate * (1 + tonumber(p[2]) * (s / level) ^ 5)
end
"""

# KEYS: pace, gate, paced. ARGV: moments wanted, '1' for a person, requests a second at most or 0.
# Gives ms until the gate opens, '1' where there is a rate, moments taken, ms until the first of them (or until it is worth
# while to ask again), ms between them, and the first one as such.
_TAKE = (
    _COMMON
    + f"""
local wanted, urgent, most = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local p = redis.call('HMGET', KEYS[1], 'per_second', 'doubt', 'level', 'used', 'at', 'opened')
local rate = pace(p)
if most > 0 then rate = math.min(rate or most, most) end
local closed = math.max(0, opens - now)
if not rate then return {{text(closed), '0', '0', '0', '0', '0'}} end
if closed > 0 or wanted <= 0 then return {{text(closed), '1', '0', '0', '0', '0'}} end
local between = 1000 / rate
local at = tonumber(p[5] or '0')
-- a person has opened the gate, or the server's clock was set back
if tonumber(p[6] or '0') > now then redis.call('HSET', KEYS[1], 'opened', text(now)) end
if at > now + {URGENT_AHEAD_MS} + 2 * between then at = now end
local first = math.max(now - {MADE_UP_MS}, opens, at + between)
local ahead = now + (urgent and math.max({URGENT_AHEAD_MS}, between) or {AHEAD_MS}) - first
if ahead < 0 then return {{'0', '1', '0', text(-ahead), '0', '0'}} end
local count = urgent and 1 or math.min(wanted, math.floor(ahead / between) + 1)
local last = first + (count - 1) * between
local sent = redis.call('HINCRBY', KEYS[1], 'sent', count)
redis.call('HSET', KEYS[1], 'at', text(last), 'used', text(tonumber(p[4] or '0') + count * between))
redis.call('PEXPIRE', KEYS[1], {FORGOTTEN_MS})
if p[1] then
  redis.call('ZADD', KEYS[3], text(last), sent)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - {REMEMBERED_MS}))
  redis.call('PEXPIRE', KEYS[3], {FORGOTTEN_MS})
end
return {{'0', '1', tostring(count), text(math.max(0, first - now)), text(between), text(first)}}
"""
)

# KEYS: as above. ARGV: ms to wait; with 429 also the moment of the request that was answered so, 0 if it had none, and how
# many had passed before, in how many ms.
# Closes the gate. Gives what led to it, where a rate was paced: `emptied` to name it by, opened, the 429 before, ms since
# `opened`, burst, burst_ms, pace, used, level, per_second, and the moments taken.
_CLOSE = (
    _COMMON
    + f"""
local wait = tonumber(ARGV[1])
local until_ms = math.max(opens, now + wait)
redis.call('HSET', KEYS[2], 'throttled_until', string.format('%d', math.ceil(until_ms)))
if not ARGV[2] then return {{}} end
local moment = tonumber(ARGV[2])
local passed, within = tonumber(ARGV[3]), tonumber(ARGV[4])
local p = redis.call('HMGET', KEYS[1], 'per_second', 'doubt', 'level', 'used', 'emptied', 'burst', 'burst_ms', 'opened',
                     'burst_from')
local rate, opened = pace(p), tonumber(p[8] or '0')
local out = {{}}
-- not by the gate, nor by when this arrives: whoever was sent before `opened` tells of what was before
local anew = moment >= opened
if rate and anew then
  out = {{text(moment), text(opened), p[5], text(moment - opened), p[6], p[7], text(rate), p[4] or '0', p[3], p[1]}}
  for _, each in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')) do table.insert(out, each) end
  redis.call('HSET', KEYS[1], 'emptied', text(moment))
elseif moment == 0 then
  -- the first ever; each process says what it had sent, and what comes in meanwhile is at least that
  local counted = math.min(wait, {LONGEST_PAUSE_SECONDS * 1000})
  local more = (passed > 0 and passed or rate and 0 or 1) * 1000 / (within + counted)
  anew = not rate
  if anew or passed > 0 and tonumber(p[3]) == 0 then
    -- what they let pass is one bucket's, from the first request of whoever began first
    local from = tonumber(p[9] or '') or now
    if passed > 0 then from = math.min(from, now - within) end
    local doubling = math.max({SHORTEST_DOUBLING_SECONDS}, counted / 1000 / {PAUSE_OF_DOUBLINGS})
    redis.call('HSET', KEYS[1], 'per_second', tonumber(p[1] or '0') + more, 'doubt', doubling, 'level', 0, 'emptied', text(now),
               'burst', tonumber(p[6] or '0') + passed, 'burst_ms', text(now - from), 'burst_from', text(from))
  end
end
if anew or now < opened then
  redis.call('HSET', KEYS[1], 'opened', text(until_ms), 'at', 0, 'sent', 0, 'used', 0)
  redis.call('DEL', KEYS[3])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(until_ms - now) + {FORGOTTEN_MS})
return out
"""
)

# KEYS: pace. ARGV: emptied, then the curve. Nothing when there has been another 429 since.
_LEARNED = """
if redis.call('HGET', KEYS[1], 'emptied') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'per_second', ARGV[2], 'doubt', ARGV[3], 'level', ARGV[4], 'burst', ARGV[5], 'burst_ms', 0)
return 1
"""


@dataclass(frozen=True, slots=True)
class Moments:
    """What may be sent, in seconds from now. closed: until the gate opens. paced: whether there is a rate; without one
    any number may be sent. count, first, between: moments taken; none with `first`: then is the time to ask again. at: the
    first moment, in ms of Redis' clock.
    """

    closed: float = 0.0
    paced: bool = False
    count: int = 0
    first: float = 0.0
    between: float = 0.0
    at: float = 0.0

    def moment(self, number: int) -> float:
        """Of those taken, in ms of Redis' clock."""
        return self.at + number * self.between * 1000


class Rate:
    """Of one target, over all processes. most: limits.requests_per_second, 0 where it is to be found out."""

    def __init__(self, redis: Redis, target: str, most: float = 0.0) -> None:
        self._keys = [key(target, name) for name in ("pace", "gate", "paced")]
        self._most = most
        self._take = redis.register_script(_TAKE)
        self._close = redis.register_script(_CLOSE)
        self._learned = redis.register_script(_LEARNED)

    async def take(self, wanted: int, *, urgent: bool = False) -> Moments:
        """Takes up to so many moments; 0 only asks. urgent: the very next one, for a person."""
        answer = await self._take(keys=self._keys, args=[wanted, "1" if urgent else "0", self._most])
        closed, paced, count, first, between, at = map(float, answer)
        return Moments(closed / 1000, paced > 0, int(count), first / 1000, between / 1000, at)

    async def close(self, seconds: float) -> None:
        """Nobody sends for so long."""
        await self._close(keys=self._keys, args=[seconds * 1000])

    async def emptied(
        self, retry_after_seconds: float, moment: float, passed: int, passed_seconds: float
    ) -> None:
        """A request was answered 429: closes the gate for everybody, and learns. moment: the one it had, 0 for none. passed:
        requests that had gone well just before, in passed_seconds; to be said once.
        """
        wait, within = retry_after_seconds * 1000, passed_seconds * 1000
        answer = await self._close(keys=self._keys, args=[wait, moment, passed, within])
        if answer:
            allowance = found(_read(answer))
            await self._learned(keys=self._keys[:1], args=[answer[0], *_curve(allowance)])


def _read(answer: list[str]) -> Emptied:
    _, opened, before, after, burst, burst_ms, pace, used, level_seconds, per_second = map(float, answer[:10])
    numbers, moments = answer[10::2], answer[11::2]
    return Emptied(
        sent=[
            ((float(at) - opened) / 1000, int(number)) for number, at in zip(numbers, moments, strict=True)
        ],
        after=after / 1000,
        paused=(opened - before) / 1000,
        burst=burst,
        burst_seconds=burst_ms / 1000,
        pace=pace,
        used=used / 1000,
        level_seconds=level_seconds,
        per_second=per_second,
    )


def _curve(allowance: Allowance) -> tuple[float, float, float, float]:
    return allowance.per_second, allowance.doubt, allowance.level_seconds, allowance.burst

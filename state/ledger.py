"""The ledger: who is pending, running, failed or held for one target (DESIGN 1.2). The queue is a hint; this knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.json_text import decoded, encoded
from config.settings import OperationName, Trigger
from provisioning.model import Job, OutcomeName, Removal, Result
from provisioning.retry import LATE_SECONDS
from state import scripts
from state.client import Redis
from state.entries import DeadLetter, Held, decode_result, encode_result
from state.guard import rejection
from state.keys import key
from state.together import Together

RESEND_MS = 30_000
HISTORY_LENGTH = 100_000
RESULT_SECONDS = 3_600
LATE_MS = round(LATE_SECONDS * 1000)
# Redis does nothing else meanwhile.
REJECTED_AT_ONCE = 500
INTERACTIVE, BULK = "interactive", "bulk"


@dataclass(frozen=True, slots=True)
class Marked:
    """generations: what to wait for. to_send: users for whom a message has to be sent now."""

    generations: Mapping[str, int]
    to_send: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """applied: the lease was still ours. again: the lane of what was submitted meanwhile, send a message. run: just
    finished.
    """

    applied: bool
    again: str | None
    run: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    pending: int
    running: int
    failed: int
    held: int


class Ledger:
    """The ledger of one target."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._target = target
        self._prefix = key(target, "")
        self._scripts = {
            name: redis.register_script(getattr(scripts, name))
            for name in (
                "MARK",
                "CLAIM",
                "RENEW",
                "SETTLE",
                "HAND_BACK",
                "LET_GO",
                "SWEEP",
                "AGAIN",
                "REJECT",
                "HURRY",
            )
        }

        self._settles: Together[tuple[Any, ...], Settled] = Together(self._settle_all)

    async def _run(self, script: str, *arguments: Any) -> list[str]:
        answer = await self._scripts[script](keys=[self._prefix], args=arguments)
        return list(answer) if isinstance(answer, list | tuple) else []

    async def mark_pending(
        self,
        users: Sequence[str],
        trigger: Trigger,
        *,
        operations: frozenset[OperationName] | None = None,
        run_id: str | None = None,
    ) -> Marked:
        """Marks users pending; one who is pending already keeps the union of all permissions (coalescing)."""
        if not users:
            return Marked({}, ())
        permits = "true" if operations is None else json.dumps(sorted(operations))
        at_once = "1" if trigger is Trigger.MANUAL else "0"
        answer = await self._run(
            "MARK", trigger.value, permits, run_id or "", RESEND_MS, at_once, json.dumps(users)
        )
        rows = list(_rows(answer, 3))
        return Marked(
            {user: int(generation) for user, generation, _ in rows},
            tuple(user for user, _, send in rows if send == "1"),
        )

    async def claim(self, users: Sequence[str], owner: str, lease_seconds: float) -> tuple[Job, ...]:
        """Takes the lease of each user who is pending, due and not running, and clears the pending mark, in one
        step, before anything is read: whatever changes after that is submitted, and seen, again.
        """
        answer = await self._run("CLAIM", owner, round(lease_seconds * 1000), json.dumps(users))
        return tuple(self._job(user, decoded(raw.encode())) for user, raw in _rows(answer, 2))

    async def renew(self, users: Sequence[str], owner: str, lease_seconds: float) -> Sequence[str]:
        """Extends leases; gives the users that are still this owner's."""
        return await self._run("RENEW", owner, round(lease_seconds * 1000), *users)

    async def settle(self, job: Job, owner: str, result: Result) -> Settled:
        """Ends the work on a user: lease, dead letter or held entry, history, the run's counters and whoever waits,
        in one step. Does nothing when the lease is no longer this owner's.
        """
        return await self._settles.ask(
            (
                owner,
                job.user,
                result.outcome,
                round((result.retry_after_seconds or 0) * 1000),
                LATE_MS if result.unanswered else 0,
                result.attempt_spent,
                result.leaving is not None,
                encoded(encode_result(result)).decode(),
                counter(result),
                result.requests,
            )
        )

    async def _settle_all(self, settles: Sequence[tuple[Any, ...]]) -> Sequence[Settled]:
        # One argument: redis-py looks at each several times over.
        answer = await self._run("SETTLE", HISTORY_LENGTH, RESULT_SECONDS, encoded(settles))
        return [
            Settled(applied == "1", again or None, run or None) for applied, again, run in _rows(answer, 3)
        ]

    async def hand_back(
        self, users: Sequence[str], owner: str, delay_seconds: float = 0, *, unanswered: bool = False
    ) -> None:
        """Back to pending, no attempt spent: shutdown, a closed gate, an outage, an unreadable source. unanswered: requests of
        theirs are under way.
        """
        late = LATE_MS if unanswered else 0
        if users:
            await self._run("HAND_BACK", owner, round(delay_seconds * 1000), late, *users)

    async def let_go(self, users: Sequence[str]) -> None:
        """Their message came while nobody may work: the next sweep sends another."""
        await self._run("LET_GO", *users)

    async def sweep(self, lane: str, limit: int = 1_000, *, only_lost: bool = False) -> tuple[str, ...]:
        """Puts back what has an expired lease; gives the users of a lane whose message has to be sent (again). only_lost:
        those for whom there surely is none.
        """
        return tuple(await self._run("SWEEP", limit, RESEND_MS, lane, "1" if only_lost else "0"))

    async def hurry(self) -> Mapping[str, tuple[str, ...]]:
        """Ends every back-off: a person is there and has mended something. Gives the users by lane, for sending."""
        return _by_lane(_rows(await self._run("HURRY", RESEND_MS), 2))

    async def counts(self) -> Counts:
        seconds, _ = await self._redis.time()
        pipe = self._redis.pipeline(transaction=False)
        pipe.hlen(self._prefix + "jobs")
        pipe.zcount(self._prefix + "leases", seconds * 1000, "+inf")
        pipe.hlen(self._prefix + "failed")
        pipe.hlen(self._prefix + "held")
        return Counts(*await pipe.execute())

    async def states(self, users: Sequence[str]) -> Mapping[str, str]:
        """pending, running, failed or held, for those of the users who are any of it."""
        if not users:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for name in ("failed", "held", "jobs", "leased"):
            pipe.hmget(self._prefix + name, list(users))
        states: dict[str, str] = {}
        for state, found in zip(("failed", "held", "pending", "running"), await pipe.execute(), strict=True):
            states |= {user: state for user, value in zip(users, found, strict=True) if value is not None}
        return states

    async def results(self, generations: Mapping[str, int]) -> Mapping[str, Result]:
        """What came of these submissions, for those that have ended. Kept for an hour, of manual work only."""
        users = list(generations)
        raw = await self._redis.mget([f"{self._prefix}result:{user}" for user in users]) if users else []
        found = {}
        for user, value in zip(users, raw, strict=True):
            stored = json.loads(value) if value else None
            if stored and stored["g"] >= generations[user]:
                found[user] = decode_result(json.loads(stored["e"]))
        return found

    async def last_told(self) -> str:
        """Where to read on from, for `told`."""
        last = await self._redis.xrevrange(self._prefix + "told", count=1)
        return str(last[0][0]) if last else "0-0"

    async def told(self, since: str, seconds: float) -> tuple[str, frozenset[str]]:
        """Waits until there are results later than `since`: where to read on from, and whose. Nobody's after so long."""
        milliseconds = max(1, round(seconds * 1000))
        streams = await self._redis.xread({self._prefix + "told": since}, block=milliseconds)
        entries = streams[0][1] if streams else []
        return (entries[-1][0] if entries else since), frozenset(fields["u"] for _, fields in entries)

    # -- what waits for a person -------------------------------------------------------------------------------

    async def waiting(self) -> frozenset[str]:
        """Users with a dead letter or a held removal, or one that was rejected: that ends when they qualify again."""
        lists = [await self._redis.hkeys(self._prefix + name) for name in ("failed", "held", "rejected")]
        return frozenset[str]().union(*lists)

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        entries = await self._redis.hgetall(self._prefix + "failed")
        letters = [DeadLetter.read(user, json.loads(raw)) for user, raw in entries.items()]
        return tuple(sorted(letters, key=lambda letter: (letter.first_failed_at, letter.user)))

    async def held(self) -> tuple[Held, ...]:
        entries = await self._redis.hgetall(self._prefix + "held")
        held = [Held.read(user, json.loads(raw)) for user, raw in entries.items()]
        return tuple(sorted(held, key=lambda entry: (entry.since, entry.user)))

    async def retry(self, users: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Dead letters become pending with the permits they had; the entry goes when the user succeeds.

        Gives the users by lane, for sending.
        """
        return _by_lane(_rows(await self._run("AGAIN", "failed", *users), 3)) if users else {}

    async def approve(self, users: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Each held removal once, and exactly the operation that was shown. Gives the users by lane, for sending."""
        return _by_lane(_rows(await self._run("AGAIN", "held", *users), 3)) if users else {}

    async def discard(self, users: Sequence[str]) -> int:
        """Takes dead letters off the list; the next full sync tries those users anyway."""
        return int(await self._redis.hdel(self._prefix + "failed", *users)) if users else 0

    async def reject(self, users: Sequence[str]) -> int:
        """Held removals are not asked about again until the user has qualified once more."""
        wanted, shown = {*users}, await self._redis.hgetall(self._prefix + "held")
        asked = []
        for user in wanted & shown.keys():
            entry = Held.read(user, json.loads(shown[user]))
            asked.append((user, shown[user], rejection(entry.operation, entry.changes, entry.leaving)))
        counts = [
            await self._run("REJECT", json.dumps(asked[start : start + REJECTED_AT_ONCE]))
            for start in range(0, len(asked), REJECTED_AT_ONCE)
        ]
        return sum(int(count) for (count,) in counts)

    async def hold(self, user: str, entry: Mapping[str, Any], trigger: Trigger) -> bool:
        """Puts an orphan before a person, in the place of what was held before. False when it is rejected already."""
        if await self._redis.hexists(self._prefix + "rejected", user):
            return False
        seconds, _ = await self._redis.time()
        times = {"first": seconds * 1000, "last": seconds * 1000, "p": {trigger.value: True}}
        await self._redis.hset(self._prefix + "held", user, json.dumps({**entry, **times}))
        return True

    def _job(self, user: str, raw: Mapping[str, Any]) -> Job:
        permits = {
            Trigger(name): None if allowed is True else frozenset(map(OperationName, allowed))
            for name, allowed in raw["p"].items()
        }
        approved = raw.get("ok")
        return Job(
            target=self._target,
            user=user,
            permits=permits,
            generation=int(raw["g"]),
            attempt=int(raw["a"]),
            run_id=raw.get("r"),
            approved=Removal(
                OperationName(approved["o"]), approved.get("id"), frozenset(approved.get("c") or ())
            )
            if approved
            else None,
        )


_COUNTERS = {
    OperationName.CREATE: "created",
    OperationName.UPDATE: "updated",
    OperationName.DEACTIVATE: "deactivated",
    OperationName.DELETE: "deleted",
    OperationName.LINK: "linked",
    OperationName.NONE: "unchanged",
}


def counter(result: Result) -> str:
    """The column of a full sync's summary that a result belongs to."""
    return _COUNTERS[result.operation] if result.outcome is OutcomeName.DONE else result.outcome.value


def _rows(flat: Sequence[str], width: int) -> list[tuple[str, ...]]:
    return [tuple(flat[start : start + width]) for start in range(0, len(flat), width)]


def _by_lane(rows: Sequence[tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """rows: the user first, the lane last."""
    lanes: dict[str, list[str]] = {}
    for row in rows:
        lanes.setdefault(row[-1], []).append(row[0])
    return {lane: tuple(users) for lane, users in lanes.items()}

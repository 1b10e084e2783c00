"""Change detection: whatever happens to a user in Drupal, found by polling `changed` and by comparing ids.

`changed` is the time a request began, not of its commit (FACTS, `changed`): polls overlap, and what was seen with the
same `changed` before is not submitted again. The watermark is Drupal's time, not this machine's, and never passes the
time its read began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from config.settings import Trigger
from provisioning.mapping import CompiledTarget
from provisioning.model import UserRef
from provisioning.ports import SourceReader
from state.client import Redis
from state.keys import key
from state.target_state import TargetState

# A save may take this long from the time it is stamped with to its commit.
OVERLAP_SECONDS = 300
# `changed` has whole seconds: a user seen in the second that is still running may be saved in it once more.
SAME_SECOND = 2
# Comparing ids takes at most this share of the time.
GONE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Mark:
    """since: Drupal's Unix time up to which changes were seen. seen: uuid -> changed, of the overlap. gone: users who
    were missing already.
    """

    since: int
    seen: Mapping[str, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """What one poll submitted."""

    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class MarkStore:
    """The mark of one target, in Redis; written after submitting, so that a crash submits again and loses nothing."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._key = key(target, "changes")

    async def read(self) -> Mark | None:
        fields = await self._redis.hgetall(self._key)
        if "since" not in fields:
            return None
        return Mark(int(fields["since"]), json.loads(fields["seen"]), frozenset(json.loads(fields["gone"])))

    async def write(self, mark: Mark) -> None:
        fields = {"since": mark.since, "seen": json.dumps(mark.seen), "gone": json.dumps(sorted(mark.gone))}
        await self._redis.hset(self._key, mapping=fields)


class ChangeDetection:
    """One target's share of the polling. clock: Unix seconds. monotonic: seconds, of a clock that is never set."""

    def __init__(
        self,
        state: TargetState,
        compiled: CompiledTarget,
        reader: SourceReader,
        marks: MarkStore,
        digest_key: Callable[[], Awaitable[bytes]],
        log: Any,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._compiled = compiled
        self._reader = reader
        self._marks = marks
        self._digest_key = digest_key
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._compare_after = float("-inf")

    async def poll(self) -> Found:
        """Finds, submits, then moves the mark. Raises SourceUnreadable."""
        began = int(self._clock())
        mark = await self._marks.read()
        if mark is None:
            await self._marks.write(await self._first_mark(began))
            return Found()
        refs = await self._reader.changed_since(mark.since - OVERLAP_SECONDS)
        changed = tuple(ref.uuid for ref in refs if mark.seen.get(ref.uuid) != ref.changed)
        gone = await self._gone() if self._monotonic() >= self._compare_after else mark.gone
        left = tuple(sorted(gone - mark.gone))
        # Who left goes first: a new user may be waiting for an old one's name.
        await self._submit_gone(left)
        await self._state.submit(changed, Trigger.AUTOMATIC)
        await self._marks.write(replace(_moved(mark, refs, began), gone=gone))
        if changed or left:
            self._log.info("changes_found", target=self._state.target, changed=len(changed), gone=len(left))
        return Found(changed, left)

    async def _first_mark(self, began: int) -> Mark:
        """What is there already is a full sync's business; changes count from now on, by Drupal's clock."""
        recent: dict[str, int] = {}
        newest = 0
        async for page in self._reader.ids():
            newest = max(newest, *(ref.changed for ref in page))
            recent |= {ref.uuid: ref.changed for ref in page if ref.changed >= newest - 2 * OVERLAP_SECONDS}
        return Mark(min(newest, began), recent, await self._gone())

    async def _submit_gone(self, users: Sequence[str]) -> None:
        if not users:
            return
        # Very many at once are judged together, as those of a full sync are.
        batch = f"poll-{int(self._clock())}"
        over_budget = await self._state.guard.close_run(batch, len(users))
        await self._state.submit(users, Trigger.AUTOMATIC, run_id=batch if over_budget else None)

    async def _gone(self) -> frozenset[str]:
        """Linked users whom Drupal does not have any more, by ids alone; nobody is read whole."""
        started = self._monotonic()
        done = self._compiled.gone_fingerprint(await self._digest_key())
        gone: set[str] = set()
        async for links in self._state.links.scan():
            gone |= {
                user
                for user, link in links.items()
                if (link.has_account or link.in_doubt) and link.fingerprint != done
            }
        if gone:
            async for page in self._reader.ids():
                gone.difference_update(ref.uuid for ref in page)
        now = self._monotonic()
        self._compare_after = now + (now - started) / GONE_SHARE
        return frozenset(gone)


def _moved(mark: Mark, refs: Sequence[UserRef], began: int) -> Mark:
    newest = max((ref.changed for ref in refs), default=mark.since)
    since = max(mark.since, min(began, newest))
    settled = {ref.uuid: ref.changed for ref in refs if ref.changed < began - SAME_SECOND}
    return Mark(since, settled)

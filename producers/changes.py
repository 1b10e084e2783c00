"""Change detection: whatever happens to a user in Drupal, found by polling `changed` and by looking for who has left.

`changed` is the time a request began, not of its commit (FACTS, `changed`): polls overlap, and what was seen with the
same `changed` before is not submitted again; but once that request is over, whoever it saved is looked at once more, as it may
have saved them twice. The watermark is Drupal's time, not this machine's, and never passes the
time its read began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from config.settings import Trigger
from producers.departures import Departed, Departures, Watched, not_looked_at
from provisioning.errors import SourceUnreadable
from provisioning.model import Presence, UserRef
from provisioning.plan import removes
from provisioning.ports import SourceReader
from state.broker import USERS_A_MESSAGE
from state.marks import Mark, MarkStore
from state.same_site import SameSite

# A save may take this long from the time it is stamped with to its commit; the request that saved, to its end.
OVERLAP_SECONDS = 300
# `changed` has whole seconds: a user seen in the second that is still running may be saved in it once more.
SAME_SECOND = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What one poll submitted for one target."""

    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """One target's share of a poll. refs: users with a `changed` from the overlap on."""

    mark: Mark
    refs: tuple[UserRef, ...]

    @classmethod
    def of(cls, mark: Mark, refs: Iterable[UserRef]) -> Share:
        return cls(mark, tuple(ref for ref in refs if ref.changed >= mark.since - OVERLAP_SECONDS))

    @property
    def new(self) -> tuple[UserRef, ...]:
        return tuple(ref for ref in self.refs if not self._seen(ref))

    def _seen(self, ref: UserRef) -> bool:
        return self.mark.seen.get(ref.uuid) == ref.changed

    def over(self, began: int) -> tuple[str, ...]:
        """Users seen before, whom the request that saved them saves no more."""
        return tuple(
            ref.uuid
            for ref in self.refs
            if ref.uuid in self.mark.again and self._seen(ref) and _is_over(ref, began)
        )

    def moved(self, began: int, gone: frozenset[str]) -> Mark:
        newest = max((ref.changed for ref in self.refs if ref.changed <= began), default=self.mark.since)
        since = max(self.mark.since, newest)
        # A second save in the same second does not move it. One whose time is far in the future is not looked at until then.
        settled = {
            ref.uuid: ref.changed
            for ref in self.refs
            if not began - SAME_SECOND <= ref.changed <= began + OVERLAP_SECONDS
        }
        again = frozenset(
            ref.uuid
            for ref in self.refs
            if not _is_over(ref, began) and (ref.uuid in self.mark.again or not self._seen(ref))
        )
        return Mark(since, settled, again, gone)


async def _removals(each: Watched, users: Sequence[str]) -> int:
    """How many of those who are gone have an account that is not removed already."""
    key, count = await each.digest_key(), 0
    for start in range(0, len(users), USERS_A_MESSAGE):
        links = await each.state.links.get_many(users[start : start + USERS_A_MESSAGE])
        count += sum(removes(Presence.GONE, link, each.compiled.leavers, key) for link in links.values())
    return count


def _is_over(ref: UserRef, began: int) -> bool:
    return ref.changed + OVERLAP_SECONDS <= began


class ChangeDetection:
    """The polling for all targets at once: Drupal is asked once. marks: by target. clock: Unix seconds."""

    def __init__(
        self,
        watched: Sequence[Watched],
        reader: SourceReader,
        same_site: SameSite,
        departures: Departures,
        marks: Mapping[str, MarkStore],
        log: Any,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._watched = watched
        self._reader = reader
        self._same_site = same_site
        self.departures = departures
        self._marks = marks
        self._log = log
        self._clock = clock

    async def poll(self) -> Mapping[str, Found]:
        """Finds, submits, then moves the marks. By target. Raises SourceUnreadable."""
        if not self._watched:
            return {}
        began = int(self._clock())
        await self._same_site.settle(somebody_gone=False)
        marks = {each.name: await self._marks[each.name].read() for each in self._watched}
        shares = await self._shares({name: mark for name, mark in marks.items() if mark is not None})
        saved = {ref.uuid: ref for share in shares.values() for ref in share.new}
        unread: SourceUnreadable | None = None
        try:
            departed = await self.departures.find(marks, list(saved.values()))
        except SourceUnreadable as error:
            if self.departures.before_all_else:
                raise
            # A long listing fails more often than a short question: what that has answered is not to wait for it.
            unread, departed = error, {name: not_looked_at(mark) for name, mark in marks.items()}
        if saved or any(each.left or each.joined for each in departed.values()):
            # Another site's users would be in the queue until its address is put right, and then all of them be gone.
            await self._same_site.settle(somebody_gone=True)
        # Who left goes first: a new user may be waiting for an old one's name.
        for each in self._watched:
            await self._submit_gone(each, departed[each.name].left)
            await each.state.submit(departed[each.name].joined, Trigger.AUTOMATIC)
        await self.departures.submitted()
        found = {
            each.name: await self._submit_saved(each, shares[each.name], departed[each.name], began)
            for each in self._watched
            if each.name in shares
        }
        if unread is not None:
            raise unread
        await self._begin(marks.keys() - shares.keys(), departed, began)
        return found

    async def _shares(self, marks: Mapping[str, Mark]) -> Mapping[str, Share]:
        if not marks:
            return {}
        refs = await self._reader.changed_since(min(mark.since for mark in marks.values()) - OVERLAP_SECONDS)
        return {name: Share.of(mark, refs) for name, mark in marks.items()}

    async def _submit_saved(self, each: Watched, share: Share, departed: Departed, began: int) -> Found:
        saved = [ref.uuid for ref in share.new]
        saved += await self._differing(each, share.over(began))
        found = Found((*saved, *departed.joined), departed.left)
        await each.state.submit(saved, Trigger.AUTOMATIC)
        mark = share.moved(began, departed.gone)
        if mark != share.mark:
            await self._marks[each.name].write(mark)
        if found.changed or found.gone:
            self._log.info(
                "changes_found", target=each.name, changed=len(found.changed), gone=len(found.gone)
            )
        return found

    async def _differing(self, each: Watched, users: Sequence[str]) -> Sequence[str]:
        """Those of whom their links say something else than Drupal does."""
        if not users:
            return ()
        found: list[str] = []
        key = await each.digest_key()
        for start in range(0, len(users), USERS_A_MESSAGE):
            batch = users[start : start + USERS_A_MESSAGE]
            read = await self._reader.read(batch)
            prints = await each.state.links.fingerprints(batch)
            found += [
                uuid
                for uuid, known in zip(batch, prints, strict=True)
                if uuid in read and each.compiled.fingerprint(read[uuid], key) != known
            ]
        return found

    async def _submit_gone(self, each: Watched, users: Sequence[str]) -> None:
        if not users:
            return
        # Very many at once are judged together, as those of a full sync are.
        batch = f"poll-{int(self._clock())}"
        over_budget = await each.state.guard.close_run(batch, await _removals(each, users))
        await each.state.submit(users, Trigger.AUTOMATIC, run_id=batch if over_budget else None)

    async def _begin(self, names: Collection[str], departed: Mapping[str, Departed], began: int) -> None:
        """What is there already is a full sync's business; changes count from now on."""
        if not names:
            return
        first = await self._first_mark(began)
        for name in names:
            await self._marks[name].write(replace(first, gone=departed[name].gone))

    async def _first_mark(self, began: int) -> Mark:
        """By Drupal's clock."""
        recent: dict[str, int] = {}
        newest = 0
        async for page in self._reader.ids():
            newest = max(newest, *(ref.changed for ref in page))
            recent |= {ref.uuid: ref.changed for ref in page}
            recent = {
                uuid: changed for uuid, changed in recent.items() if changed >= newest - 2 * OVERLAP_SECONDS
            }
        return Mark(min(newest, began), recent)

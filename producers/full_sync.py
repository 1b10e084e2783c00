"""The full sync of one target: whatever differs is put right, whatever was missed is caught.

It compares fingerprints page by page and submits only users whose fingerprint differs, and linked users who were not
in the listing. It passes no intention: the worker asks Drupal about each again, so a short listing removes nobody.
Removals are submitted last, when their number is known, so that the guard can judge the run as a whole; the same goes
for updates that would take an attribute away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.settings import Trigger
from provisioning.diff import changes_since
from provisioning.expressions import EvaluationError
from provisioning.mapping import CompiledTarget
from provisioning.model import Link, Presence, SourceUser
from provisioning.ports import SourceReader
from state.runs import Run
from state.target_state import TargetState

SUBMIT = 500
Progress = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scan:
    """What one page of users amounts to: users whose account may need something; leaving: who is to be removed;
    clearing: who would lose attributes, and which.
    """

    changed: tuple[str, ...]
    leaving: tuple[str, ...]
    clearing: Mapping[str, tuple[str, ...]]
    unchanged: int


@dataclass
class Deferred:
    """What a scan finds and submits when its extent is known. share: users who may lose one attribute. waiting: users
    who are looked at again though nothing has changed: perhaps the reason to wait has gone.
    """

    share: int
    waiting: frozenset[str] = frozenset()
    leaving: set[str] = field(default_factory=set)
    _clearing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _losing: Counter[str] = field(default_factory=Counter)

    def add(self, scan: Scan) -> None:
        self.leaving.update(scan.leaving)
        self._clearing |= scan.clearing
        self._losing.update(path for paths in scan.clearing.values() for path in paths)

    @property
    def too_many(self) -> tuple[str, ...]:
        """Attributes that more users would lose than may."""
        return tuple(path for path, users in self._losing.items() if users > self.share)

    def take_clearing(self) -> Sequence[str]:
        users = sorted(self._clearing)
        self._clearing.clear()
        return users


@dataclass(frozen=True, slots=True)
class FullSync:
    """One target's full sync, in the process that scans. key: the digest key."""

    state: TargetState
    compiled: CompiledTarget
    reader: SourceReader
    key: bytes
    owner: str
    log: Any

    async def start(self, trigger: str) -> tuple[str, str]:
        """(run id, "new" | "resume" | "busy")."""
        return await self.state.runs.start(self.owner, trigger)

    async def scan(self, run_id: str, kind: str) -> None:
        """Finds and submits. A scan that fails is resumed by the next start, where it stopped.

        Raises SourceUnreadable, ScannerLostError.
        """
        run = await self.state.runs.get(run_id)
        cursor = run.cursor if run else 0
        event = "sync_resumed" if kind == "resume" else "sync_started"
        self.log.info(event, target=self.state.target, run_id=run_id, cursor=cursor)
        try:
            await self.reader.verify()
            # Leavers found before a crash are found again: the listing of ids is read whole either way.
            found = Deferred((await self.state.guard.share())[0], await self.state.ledger.waiting())
            if cursor:
                await self._found_before(found, cursor)
            async for page in self.reader.scan(cursor):
                await self._page(run_id, page, found)
            await self._submit_clearing(run_id, found)
            await self._submit_leaving(run_id, sorted(found.leaving | await self.gone()))
            await self.state.runs.scanned(run_id, self.owner)
        except BaseException:
            await self.state.runs.stop_scanning(self.owner)
            raise
        await self._log_if_finished(run_id)

    async def _page(self, run_id: str, page: Sequence[SourceUser], found: Deferred) -> None:
        scan = await self.judge(page, found.waiting)
        if scan.changed:
            await self.state.submit(scan.changed, Trigger.SCHEDULED, run_id=run_id)
        found.add(scan)
        if found.too_many:
            # Already too many of them: what the rest of the scan finds is of the same kind, and need not be kept.
            await self._submit_clearing(run_id, found)
        await self.state.runs.advance(
            run_id, self.owner, page[-1].uid, scanned=len(page), unchanged=scan.unchanged
        )

    async def _submit_clearing(self, run_id: str, found: Deferred) -> None:
        for path in found.too_many:
            await self.state.guard.close_clearing(run_id, path, (await self.state.guard.share())[1])
        await self._submit_all(run_id, found.take_clearing())

    async def _submit_all(self, run_id: str, users: Sequence[str]) -> None:
        for start in range(0, len(users), SUBMIT):
            await self.state.submit(users[start : start + SUBMIT], Trigger.SCHEDULED, run_id=run_id)

    async def judge(self, page: Sequence[SourceUser], waiting: frozenset[str] = frozenset()) -> Scan:
        """Compares a page of users with what was last done for them. No request to the target."""
        links = await self.state.links.get_many([user.uuid for user in page])
        changed: list[str] = []
        leaving: list[str] = []
        clearing: dict[str, tuple[str, ...]] = {}
        for user in page:
            link = links.get(user.uuid)
            same = link is not None and link.fingerprint == self.compiled.fingerprint(user, self.key)
            if same and user.uuid not in waiting:
                continue
            leaves, cleared = self._loses(user, link)
            if leaves:
                leaving.append(user.uuid)
            elif cleared:
                clearing[user.uuid] = cleared
            else:
                changed.append(user.uuid)
        differing = len(changed) + len(leaving) + len(clearing)
        return Scan(tuple(changed), tuple(leaving), clearing, len(page) - differing)

    def _loses(self, user: SourceUser, link: Link | None) -> tuple[bool, tuple[str, ...]]:
        """Whether a linked user leaves, and else which attributes would be taken away."""
        if link is None or not link.has_account:
            return False, ()
        try:
            source = self.compiled.source(user.uuid, user, self.key)
        except EvaluationError:
            # The worker will tell; what cannot be judged is no leaver.
            return False, ()
        if source.presence is not Presence.ACTIVE or source.desired is None:
            return True, ()
        return False, changes_since(link, source.desired, self.compiled.mapped, self.key).removed

    async def _found_before(self, found: Deferred, cursor: int) -> None:
        async for page in self.reader.scan(0):
            found.add(await self.judge([user for user in page if user.uid <= cursor]))
            if page[-1].uid > cursor:
                break

    async def gone(self) -> set[str]:
        """Linked users the site does not list any more, unless that has been dealt with."""
        gone = await self._linked_and_unsettled()
        async for page in self.reader.ids():
            gone.difference_update(user.uuid for user in page)
        return gone

    async def _linked_and_unsettled(self) -> set[str]:
        done = self.compiled.gone_fingerprint(self.key)
        users: set[str] = set()
        async for links in self.state.links.scan():
            users |= {user for user, link in links.items() if link.fingerprint != done}
        return users

    async def _submit_leaving(self, run_id: str, leaving: Sequence[str]) -> None:
        active = await self._still_active(leaving)
        await self.state.guard.close_run(run_id, active)
        await self._submit_all(run_id, leaving)

    async def _still_active(self, leaving: Sequence[str]) -> int:
        count = 0
        for start in range(0, len(leaving), SUBMIT):
            links: Mapping[str, Link] = await self.state.links.get_many(leaving[start : start + SUBMIT])
            count += sum(link.has_account and link.active for link in links.values())
        return count

    async def _log_if_finished(self, run_id: str) -> None:
        run = await self.state.runs.get(run_id)
        if run is not None and run.finished_at is not None:
            self.log.info("sync_finished", target=self.state.target, run_id=run_id, **run.counters)

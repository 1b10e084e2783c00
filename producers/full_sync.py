"""The full sync of one target: whatever differs is put right, whatever was missed is caught.

It compares fingerprints page by page and submits only users whose fingerprint differs, and linked users who were not
in the listing. It passes no intention: the worker asks Drupal about each again, so a short listing removes nobody.
Removals are submitted last, when their number is known, so that the guard can judge the run as a whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import Trigger
from provisioning.expressions import EvaluationError
from provisioning.mapping import CompiledTarget
from provisioning.model import Link, SourceUser
from provisioning.ports import SourceReader
from state.runs import Run
from state.target_state import TargetState

SUBMIT = 500
Progress = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scan:
    """What one page of users amounts to: users whose account may need something, and those of them who leave."""

    changed: tuple[str, ...]
    leaving: tuple[str, ...]
    unchanged: int


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
            leaving = set[str]() if cursor == 0 else await self._leaving_before(cursor)
            async for page in self.reader.scan(cursor):
                leaving |= await self._page(run_id, page)
            leaving |= await self.gone()
            await self._submit_leaving(run_id, sorted(leaving))
            await self.state.runs.scanned(run_id, self.owner)
        except BaseException:
            await self.state.runs.stop_scanning(self.owner)
            raise
        await self._log_if_finished(run_id)

    async def _page(self, run_id: str, page: Sequence[SourceUser]) -> set[str]:
        scan = await self.judge(page)
        if scan.changed:
            await self.state.submit(scan.changed, Trigger.SCHEDULED, run_id=run_id)
        await self.state.runs.advance(
            run_id, self.owner, page[-1].uid, scanned=len(page), unchanged=scan.unchanged
        )
        return set(scan.leaving)

    async def judge(self, page: Sequence[SourceUser]) -> Scan:
        """Compares a page of users with what was last done for them. No request to the target."""
        links = await self.state.links.get_many([user.uuid for user in page])
        changed: list[str] = []
        leaving: list[str] = []
        for user in page:
            link = links.get(user.uuid)
            if link is not None and link.fingerprint == self.compiled.fingerprint(user, self.key):
                continue
            (leaving if self._leaves(user, link) else changed).append(user.uuid)
        return Scan(tuple(changed), tuple(leaving), len(page) - len(changed) - len(leaving))

    def _leaves(self, user: SourceUser, link: Link | None) -> bool:
        if link is None or not link.has_account:
            return False
        try:
            return not self.compiled.qualifies(user)
        except EvaluationError:
            # The worker will tell; what cannot be judged is no leaver.
            return False

    async def _leaving_before(self, cursor: int) -> set[str]:
        leaving: set[str] = set()
        async for page in self.reader.scan(0):
            leaving |= set((await self.judge([user for user in page if user.uid <= cursor])).leaving)
            if page[-1].uid > cursor:
                break
        return leaving

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
        for start in range(0, len(leaving), SUBMIT):
            await self.state.submit(leaving[start : start + SUBMIT], Trigger.SCHEDULED, run_id=run_id)

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

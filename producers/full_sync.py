"""The full sync of one target: whatever differs is put right, whatever was missed is caught.

It compares fingerprints page by page and submits only users whose fingerprint differs, some pages' together, and linked
users whom the site does not have any more (producers.attendance). It passes no intention: the worker asks Drupal about each
again, so a short listing removes nobody.
Removals are submitted last, when their number is known, so that the guard can judge the run as a whole; the same goes
for updates that would take an attribute away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from config.settings import SWITCHABLE, OperationName, Trigger
from producers.attendance import Attendance
from producers.findings import SUBMIT, Findings, Scan
from provisioning.diff import changes_since
from provisioning.errors import ProvisioningError
from provisioning.expressions import EvaluationError
from provisioning.mapping import CompiledTarget
from provisioning.model import Link, Presence, Removal, SourceUser
from provisioning.plan import leaver_policy, removes
from provisioning.ports import SourceReader
from state.runs import SCANNER_SECONDS, Run
from state.same_site import SameSite
from state.target_state import TargetState

Progress = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FullSync:
    """One target's full sync, in the process that scans. key: the digest key. allowed: what the scheduled trigger may do."""

    state: TargetState
    compiled: CompiledTarget
    reader: SourceReader
    same_site: SameSite
    key: bytes
    owner: str
    log: Any
    allowed: frozenset[str] = SWITCHABLE

    async def start(self, trigger: str) -> tuple[str, str]:
        """(run id, "new" | "resume" | "busy")."""
        return await self.state.runs.start(self.owner, trigger, self.compiled.policy_digest)

    async def scan(self, run_id: str, kind: str) -> None:
        """Finds and submits. A scan that fails is resumed by the next start, where it stopped.

        Raises SourceUnreadable, ScannerLostError.
        """
        run = await self.state.runs.get(run_id)
        cursor = run.cursor if run else 0
        event = "sync_resumed" if kind == "resume" else "sync_started"
        self.log.info(event, target=self.state.target, run_id=run_id, cursor=cursor)
        keeping = asyncio.create_task(self._keep_scanning())
        try:
            await self.reader.verify()
            await self.same_site.settle(somebody_gone=True)
            found = await self._nothing_found(cursor)
            if cursor:
                await self._found_before(run_id, found, cursor)
            async for page in self.reader.scan(cursor):
                await self._page(run_id, page, found)
            await self._submit_changed(run_id, found)
            await self._submit_clearing(run_id, found)
            async for users in found.attendance.gone():
                found.leaving.update(dict.fromkeys(users, Presence.GONE))
                await self._submit_early(run_id, found)
                await self._hold(run_id, found)
            await self._submit_leaving(run_id, found)
            await self.state.runs.scanned(run_id, self.owner)
        except BaseException as error:
            why = error.detail if isinstance(error, ProvisioningError) else ""
            await self.state.runs.stop_scanning(run_id, self.owner, why)
            raise
        finally:
            keeping.cancel()
        await self._log_if_finished(run_id)

    async def _keep_scanning(self) -> None:
        """A page of JSON:API, or asking for hundreds who are gone, one by one, may take longer than the scanner is waited for."""
        while True:
            await asyncio.sleep(SCANNER_SECONDS / 3)
            with contextlib.suppress(RedisError):
                await self.state.runs.keep_scanning(self.owner)

    async def _nothing_found(self, cursor: int) -> Findings:
        share, _ = await self.state.guard.share()
        waiting = await self.state.ledger.waiting()
        return Findings(share, waiting, await self.attendance(cursor))

    async def attendance(self, cursor: int = 0) -> Attendance:
        settled = self.compiled.gone_fingerprint(self.key)
        return await Attendance.begin(self.state.links, self.reader, settled, cursor)

    async def _page(self, run_id: str, page: Sequence[SourceUser], found: Findings) -> None:
        scan = await self.judge(page, found.waiting)
        found.add(page, scan)
        found.gather(scan)
        if found.gathered_enough():
            await self._submit_changed(run_id, found)
        if found.too_many:
            # Already too many of them: what the rest of the scan finds is of the same kind, and need not be kept.
            await self._submit_clearing(run_id, found)
        await self._submit_early(run_id, found)
        await self._hold(run_id, found)

    async def _submit_changed(self, run_id: str, found: Findings) -> None:
        await self._submit_all(run_id, found, found.changed)
        found.changed.clear()
        await self._hold(run_id, found)

    async def _hold(self, run_id: str, found: Findings) -> None:
        """Says that we are still at it. Raises ScannerLostError."""
        cursor, counters = found.progress()
        await self.state.runs.advance(run_id, self.owner, cursor, **counters)

    async def _submit_clearing(self, run_id: str, found: Findings) -> None:
        for path in found.too_many:
            await self.state.guard.close_clearing(run_id, path, (await self.state.guard.share())[1])
        await self._submit_all(run_id, found, found.take_clearing())

    async def _submit_all(self, run_id: str, found: Findings, users: Sequence[str]) -> None:
        for start in range(0, len(users), SUBMIT):
            await self.state.submit(users[start : start + SUBMIT], Trigger.SCHEDULED, run_id=run_id)
            await self._hold(run_id, found)

    async def judge(self, page: Sequence[SourceUser], waiting: frozenset[str] = frozenset()) -> Scan:
        """Compares a page of users with what was last done for them. No request to the target."""
        prints = await self.state.links.fingerprints([user.uuid for user in page])
        differing = [
            user
            for user, known in zip(page, prints, strict=True)
            if known != self.compiled.fingerprint(user, self.key) or user.uuid in waiting
        ]
        links = await self.state.links.get_many([user.uuid for user in differing])
        changed: list[str] = []
        leaving: dict[str, Presence] = {}
        clearing: dict[str, tuple[str, ...]] = {}
        for user in differing:
            presence, cleared = self._loses(user, links.get(user.uuid))
            if presence is not Presence.ACTIVE:
                leaving[user.uuid] = presence
            elif cleared:
                clearing[user.uuid] = cleared
            else:
                changed.append(user.uuid)
        return Scan(tuple(changed), leaving, clearing, len(page) - len(differing), prints)

    def _loses(self, user: SourceUser, link: Link | None) -> tuple[Presence, tuple[str, ...]]:
        """Whether and how a linked user leaves, and else which attributes would be taken away."""
        if link is None or not link.has_account:
            return Presence.ACTIVE, ()
        try:
            source = self.compiled.source(user.uuid, user, self.key)
        except EvaluationError:
            # The worker will tell; what cannot be judged is no leaver.
            return Presence.ACTIVE, ()
        if source.presence is not Presence.ACTIVE or source.desired is None:
            return source.presence, ()
        return source.presence, changes_since(link, source.desired, self.compiled.mapped, self.key).removed

    async def _found_before(self, run_id: str, found: Findings, cursor: int) -> None:
        """Leavers found before a crash are found again, and who was there is counted again."""
        async for page in self.reader.scan(0):
            before = [user for user in page if user.uid <= cursor]
            found.add(before, await self.judge(before))
            await self._submit_early(run_id, found)
            await self._hold(run_id, found)
            if page[-1].uid > cursor:
                break

    async def _submit_early(self, run_id: str, found: Findings) -> None:
        """Everybody might be leaving: what the guard does not allow is not kept, but submitted to be held."""
        if not found.over_budget and found.grown():
            removals = await self._removals(found.leaving)
            found.over_budget = await self.state.guard.close_run(run_id, removals)
        if found.over_budget:
            await self._submit_all(run_id, found, list(found.take_leaving()))

    async def _submit_leaving(self, run_id: str, found: Findings) -> None:
        leaving = found.take_leaving()
        if not found.over_budget:
            await self.state.guard.close_run(run_id, await self._removals(leaving))
        await self._submit_all(run_id, found, list(leaving))

    async def _removals(self, leaving: Mapping[str, Presence]) -> int:
        """How many of them will be one, by what becomes of leavers of their kind, and by what a person has rejected."""
        users, count = list(leaving), 0
        for start in range(0, len(users), SUBMIT):
            batch = users[start : start + SUBMIT]
            links: Mapping[str, Link] = await self.state.links.get_many(batch)
            removals = {
                user: removal
                for user, link in links.items()
                if (removal := self._removal(leaving[user], link)) is not None
            }
            count += len(removals) - len(await self.state.guard.rejected(removals))
        return count

    def _removal(self, presence: Presence, link: Link) -> Removal | None:
        leavers = self.compiled.leavers
        operation = leaver_policy(leavers, presence)
        if operation not in self.allowed or not removes(presence, link, leavers, self.key):
            return None
        return Removal(OperationName(operation), link.scim_id, leaving=presence)

    async def _log_if_finished(self, run_id: str) -> None:
        run = await self.state.runs.get(run_id)
        if run is not None and run.finished_at is not None:
            self.log.info("sync_finished", target=self.state.target, run_id=run_id, **run.counters)

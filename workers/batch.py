"""Working on the users of one message: claim, read Drupal once for all, reconcile each, settle each.

Each user succeeds or fails alone; one who has to wait leaves the batch and comes back in a message of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.settings import OperationName
from provisioning.errors import (
    Outage,
    SourceIdentityLost,
    SourceUnreadable,
    Throttled,
    Transient,
)
from provisioning.model import Job, Link, OutcomeName, Result, SourceUser
from provisioning.ports import SourceReader
from provisioning.reconcile import LeaseLostError
from scim.transport import SENT
from state.broker import lane_of
from state.gate import Gate
from state.ledger import BULK, INTERACTIVE
from workers.leases import LEASE_SECONDS, HeldLeases, UserLease, keep
from workers.reporting import log_result
from workers.runtime import TargetWork

# An unreadable source or an unreachable target is tried again after this long; a few times, then the gate closes.
OUTAGE_SECONDS = 2.0


class Batch:
    """The users of one message on one target. owner: this process. stopping: True once it is to end."""

    def __init__(
        self,
        work: TargetWork,
        reader: SourceReader,
        source_gate: Gate,
        owner: str,
        log: Any,
        stopping: Callable[[], bool],
    ) -> None:
        self._work = work
        self._ledger = work.state.ledger
        self._reader = reader
        self._source_gate = source_gate
        self._owner = owner
        self._log = log
        self._stopping = stopping

    async def run(self, users: Sequence[str], lane: str) -> None:
        """Raises nothing of the users' making; Redis errors pass, and the sweeper sends the users again."""
        health = await self._work.state.gate.health()
        if not health.open or not (await self._source_gate.health()).open:
            # They stay pending; the sweeper sends them when the gate opens.
            return
        if health.throttled_seconds > 0:
            await self._work.state.send(users, lane, health.throttled_seconds)
            return
        jobs = await self._ledger.claim(users, self._owner, LEASE_SECONDS)
        if jobs:
            async with keep(self._ledger, self._owner, [job.user for job in jobs]) as leases:
                await self._work_on(jobs, leases)

    async def _work_on(self, jobs: Sequence[Job], leases: HeldLeases) -> None:
        ids = [job.user for job in jobs]
        try:
            users = await self._reader.read(ids)
        except SourceUnreadable as error:
            await self._source_failed(ids, error)
            return
        links = await self._work.state.links.get_many(ids)
        await asyncio.gather(*(self._one(job, users, links, leases) for job in jobs))

    async def _one(
        self, job: Job, users: Mapping[str, SourceUser], links: Mapping[str, Link], leases: HeldLeases
    ) -> None:
        if self._stopping():
            await self._ledger.hand_back([job.user], self._owner)
            return
        lease = UserLease(leases, job.user)
        gate = self._work.state.gate
        requests: list[str] = []
        SENT.set(requests)
        try:
            result = await self._work.reconciler.reconcile(
                job, users.get(job.user), links.get(job.user), lease
            )
        except Throttled as error:
            seconds = error.retry_after_seconds or 1.0
            if await gate.throttle(seconds):
                self._log.warning(
                    "target_throttled", target=job.target, seconds=seconds, status_code=error.status_code
                )
            await self._hand_back(job, seconds)
        except Outage as error:
            if await gate.failed(error.detail, certain=error.certain):
                self._log.error(
                    "target_quarantined",
                    target=job.target,
                    reason=error.detail,
                    status_code=error.status_code,
                )
            await self._hand_back(job, OUTAGE_SECONDS)
        except SourceUnreadable as error:
            await self._source_failed([job.user], error)
        except LeaseLostError:
            # Whoever has the user now settles it.
            return
        except Exception as error:
            # A defect of ours must not stop the others, nor go round for ever.
            self._log.exception("unexpected_error", target=job.target, user=job.user)
            failure = Transient(f"internal error ({type(error).__name__}); see the log of {self._owner}")
            reporter = self._work.reconciler.reporter(job)
            await self._settle(job, reporter.failure(OperationName.NONE, failure))
        else:
            await self._judge(result)
            await self._settle(job, replace(result, requests=len(requests)))
        finally:
            leases.release(job.user)

    async def _judge(self, result: Result) -> None:
        """A run of 5xx answers is an outage, whoever the users are; any good answer ends the run."""
        gate = self._work.state.gate
        if result.outcome is OutcomeName.PENDING and (result.status_code or 0) >= 500:
            if await gate.failed(result.detail, certain=False):
                self._log.error("target_quarantined", target=result.target, reason=result.detail)
        elif result.outcome in {OutcomeName.DONE, OutcomeName.FAILED}:
            await gate.worked()

    async def _settle(self, job: Job, result: Result) -> None:
        settled = await self._ledger.settle(job, self._owner, result)
        if not settled.applied:
            return
        log_result(self._log, result)
        if settled.run:
            self._log.info("sync_finished", target=job.target, run_id=settled.run)
        lane = _lane(job)
        if result.outcome is OutcomeName.PENDING:
            await self._work.state.send([job.user], lane, result.retry_after_seconds or 0)
        elif settled.pending_again:
            await self._work.state.send([job.user], lane)

    async def _hand_back(self, job: Job, seconds: float) -> None:
        await self._ledger.hand_back([job.user], self._owner, seconds)
        await self._work.state.send([job.user], _lane(job), seconds)

    async def _source_failed(self, users: Sequence[str], error: SourceUnreadable) -> None:
        certain = isinstance(error, SourceIdentityLost)
        await self._ledger.hand_back(users, self._owner, error.retry_after_seconds or OUTAGE_SECONDS)
        if await self._source_gate.failed(error.detail, certain=certain):
            self._log.error("source_unreadable", reason=error.detail)


def _lane(job: Job) -> str:
    return INTERACTIVE if any(lane_of(trigger) == INTERACTIVE for trigger in job.permits) else BULK

"""What comes of the users of one batch: settled with a result, handed back, or left to the worker that has them now.

Of a failure it is also judged here whom it concerns: this user, everybody at the target, or everybody on the site.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from config.settings import OperationName
from provisioning.applying import LeaseLostError
from provisioning.errors import Outage, SourceIdentityLost, SourceUnreadable, Throttled, Transient
from provisioning.model import Job, OutcomeName, Result
from provisioning.retry import LATE_SECONDS
from scim.transport import SHARED, counted
from state.broker import lane_of
from state.gate import Gate
from state.ledger import BULK, INTERACTIVE
from state.links import SHORT_PAUSES
from workers.reporting import log_result
from workers.runtime import TargetWork
from workers.throttle import PATIENCE_SECONDS

# An unreadable source or an unreachable target is tried again after this long; a few times, then the gate closes.
OUTAGE_SECONDS = 2.0


class Outcomes:
    """Of one batch. process: this one. owner: the holder of the batch's leases.

    closed: nobody else of this batch is to be sent for `wait_seconds`. done: how many are settled.
    """

    def __init__(self, work: TargetWork, source_gate: Gate, process: str, owner: str, log: Any) -> None:
        self._work = work
        self._ledger = work.state.ledger
        self._source_gate = source_gate
        self._process = process
        self._owner = owner
        self._log = log
        self._requests: dict[str, list[str]] = {}
        # Of whom is known what came of it.
        self._ended: set[str] = set()
        self.closed = asyncio.Event()
        self.wait_seconds = 0.0
        self.done = 0

    def requests(self, user: str) -> list[str]:
        """What was sent for a user, for scim.transport.SENT."""
        return self._requests.setdefault(user, [])

    def has_written_nothing(self, user: str) -> bool:
        return all(method == "GET" for method in self._requests.get(user, ()))

    def may_go_back(self, user: str) -> bool:
        """Nothing was written for this user, and nothing is known of what came of it."""
        return self.has_written_nothing(user) and user not in self._ended

    async def came_of(self, job: Job, result: Result, seconds: float) -> None:
        """seconds: that it took."""
        self._ended.add(job.user)
        await self._judge(result)
        requests = counted(self._requests[job.user])
        await self.settle(job, result._replace(requests=requests, duration_ms=round(seconds * 1000)))

    async def failed(self, job: Job, error: Exception) -> None:
        """By what `reconcile` raises. Raises CancelledError for whoever goes back together with others."""
        match error:
            case Throttled():
                await self._throttled(job, error)
            case Outage():
                await self._target_failed(error.detail, certain=error.certain, status_code=error.status_code)
                await self._hand_back(job, OUTAGE_SECONDS)
            case SourceUnreadable():
                await self.source_failed([job.user], error, _lane(job))
            case LeaseLostError():
                # Whoever has the user now settles it.
                await self._look_again(job)
            case _:
                # A defect of ours must not stop the others, nor go round for ever.
                self._log.error("unexpected_error", target=job.target, user=job.user, exc_info=error)
                words = f"internal error ({type(error).__name__}); see the log of {self._process}"
                reporter = self._work.reconciler.reporter(job)
                await self.settle(job, reporter.failure(OperationName.NONE, Transient(words)))

    async def spent(self, job: Job) -> None:
        """Workers have died over this user too often: a dead letter."""
        limit = self._work.settings.limits.max_attempts
        detail = (
            f"gave up after {job.attempt - 1} attempts: each time the worker ended before it was done, or "
            f"limits.max_attempts, {limit} now, was larger before"
        )
        reporter = self._work.reconciler.reporter(job)
        await self.settle(job, reporter.report(OperationName.NONE, OutcomeName.FAILED, detail=detail))

    async def settle(self, job: Job, result: Result) -> None:
        settled = await self._ledger.settle(job, self._owner, result)
        if not settled.applied:
            await self._look_again(job, late=result.unanswered)
            return
        self.done += 1
        log_result(self._log, result)
        if settled.run:
            self._log.info("sync_finished", target=job.target, run_id=settled.run)
        if result.outcome is OutcomeName.PENDING:
            await self._work.state.send([job.user], _lane(job), result.retry_after_seconds or 0)
        elif settled.again:
            await self._work.state.send([job.user], settled.again)

    async def _throttled(self, job: Job, error: Throttled) -> None:
        """Back to the queue, no attempt spent. The others wait in the throttle, unless that takes long."""
        seconds = error.retry_after_seconds or 1.0
        if await self._work.state.gate.throttle(seconds):
            self._log.warning(
                "target_throttled",
                target=job.target,
                user=job.user,
                seconds=seconds,
                status_code=error.status_code,
            )
        if seconds > PATIENCE_SECONDS:
            self._close(seconds)
            if not self._requests[job.user]:
                # With the others, in one message.
                raise asyncio.CancelledError
        await self._hand_back(job, seconds)

    def _close(self, seconds: float) -> None:
        self.wait_seconds = max(self.wait_seconds, seconds)
        self.closed.set()

    async def _judge(self, result: Result) -> None:
        """A run of 5xx answers, or of none, is an outage, whoever the users are; what is done, or refused by the target for good, ends
        the run. A Bulk request without a good answer is one failure, which the user who counts it tells of.
        """
        status = result.status_code or 0
        if result.silent or (status >= 500 and status != 501 and result.outcome is not OutcomeName.DONE):
            if self._requests[result.user][-1:] != [SHARED]:
                await self._target_failed(result.detail, certain=False, status_code=result.status_code)
        elif result.outcome is OutcomeName.DONE or (
            result.outcome is OutcomeName.FAILED and self._requests[result.user]
        ):
            await self._work.state.gate.worked()

    async def _target_failed(self, detail: str, *, certain: bool, status_code: int | None) -> None:
        """Once that has closed the gate, whoever of this batch has written nothing goes back."""
        gate = self._work.state.gate
        if await gate.failed(detail, certain=certain):
            self._log.error(
                "target_quarantined", target=self._work.state.target, reason=detail, status_code=status_code
            )
        if not (await gate.health()).open:
            self._close(OUTAGE_SECONDS)

    async def _look_again(self, job: Job, *, late: bool = False) -> None:
        """The lease has gone, and what this worker has sent may be what the account is like: the next one reads it. late: it may
        still be carried out.
        """
        if self.has_written_nothing(job.user):
            return
        try:
            await asyncio.sleep(LATE_SECONDS if late else 0)
            await self._work.state.links.doubt([job.user])
        except asyncio.CancelledError:
            # A worker that is to end cannot wait for long.
            await self._work.state.links.doubt([job.user], SHORT_PAUSES)
            raise
        finally:
            for trigger, operations in job.permits.items():
                await self._work.state.submit([job.user], trigger, operations=operations)

    async def _hand_back(self, job: Job, seconds: float) -> None:
        await self._ledger.hand_back([job.user], self._owner, seconds)
        await self._work.state.send([job.user], _lane(job), seconds)

    async def source_failed(self, users: Sequence[str], error: SourceUnreadable, lane: str) -> None:
        certain = isinstance(error, SourceIdentityLost)
        seconds = error.retry_after_seconds or OUTAGE_SECONDS
        await self._ledger.hand_back(users, self._owner, seconds)
        if await self._source_gate.failed(error.detail, certain=certain):
            self._log.error("source_unreadable", reason=error.detail)
        elif len(users) > 1:
            # It may be one of them alone who cannot be read: in halves the others get past that one.
            await self._work.state.send(users, lane, seconds, at_most=-(-len(users) // 2))
        else:
            # Nobody else says it where the site can be read, and this user cannot.
            self._log.warning("source_unreadable", reason=error.detail, user=users[0])


def _lane(job: Job) -> str:
    return INTERACTIVE if any(lane_of(trigger) == INTERACTIVE for trigger in job.permits) else BULK

"""Working on the users of one message: claim, read Drupal once for all, reconcile each, settle each.

Each user succeeds or fails alone; one who has to wait leaves the batch and comes back in a message of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from config.settings import OperationName
from provisioning.applying import LeaseLostError
from provisioning.errors import (
    Outage,
    SourceIdentityLost,
    SourceUnreadable,
    Throttled,
    Transient,
)
from provisioning.model import Job, Link, OutcomeName, Result, SourceUser
from provisioning.ports import SourceReader
from provisioning.retry import LATE_SECONDS
from scim.transport import LEASE, SENT, SHARED, counted
from state.broker import lane_of
from state.gate import Gate
from state.ledger import BULK, INTERACTIVE
from state.links import SHORT_PAUSES
from state.same_site import SameSite
from workers.leases import LEASE_SECONDS, HeldLeases, UserLease, clock, keep
from workers.reporting import log_result
from workers.runtime import TargetWork
from workers.throttle import PATIENCE_SECONDS
from workers.waiting import URGENT

# An unreadable source or an unreachable target is tried again after this long; a few times, then the gate closes.
OUTAGE_SECONDS = 2.0
# So many users of a message without a link: there may be more of them, and one listing answers for all.
MANY = 10
# After a listing that took longer what was read before it is read again.
FRESH_SECONDS = 5.0
# What a user needs before its request takes a tenth of a millisecond: all of a message at once, and the target would wait for us.
BEGIN_AT_ONCE = 8
# A worker that is to end gives requests under way this long; whoever has written nothing goes back at once.
FINISH_SECONDS = 5.0
_NUMBERS = itertools.count(1)


class Batch:
    """The users of one message on one target. process: this one. stopping: set once it is to end."""

    def __init__(
        self,
        work: TargetWork,
        reader: SourceReader,
        same_site: SameSite,
        source_gate: Gate,
        process: str,
        log: Any,
        stopping: asyncio.Event,
    ) -> None:
        self._work = work
        self._ledger = work.state.ledger
        self._reader = reader
        self._same_site = same_site
        self._source_gate = source_gate
        self._process = process
        # A lease that this process has lost may have been given to the next message in this same process.
        self._owner = f"{process}/{next(_NUMBERS)}"
        self._log = log
        self._stopping = stopping
        self._requests: dict[str, list[str]] = {}
        # Of whom is known what came of it.
        self._ended: set[str] = set()
        self._closed = asyncio.Event()
        self._wait_seconds = 0.0
        self._done = 0
        self._lane = BULK

    async def run(self, users: Sequence[str], lane: str) -> None:
        """Raises nothing of the users' making; Redis errors pass, and the sweeper sends the users again."""
        self._lane = lane
        URGENT.set(lane == INTERACTIVE)
        health = await self._work.state.gate.health()
        if not health.open or not (await self._source_gate.health()).open:
            # They stay pending; the sweeper sends them as soon as the gate opens, the interactive lane first.
            await self._ledger.let_go(users)
            return
        if health.throttled_seconds > PATIENCE_SECONDS:
            await self._work.state.send(users, lane, health.throttled_seconds)
            return
        if health.careful:
            # What it is well enough for one user shows; all of a message would spend an attempt each.
            for count, user in enumerate(users, 1):
                if await self._claim([user]):
                    await self._work.state.send(users[count:], lane)
                    break
            return
        portion = self._work.portion
        count = portion.of(len(users))
        await self._work.state.send(users[count:], lane, at_most=count)
        began = time.monotonic()
        if await self._claim(users[:count]):
            portion.took(self._done, time.monotonic() - began)

    async def _claim(self, users: Sequence[str]) -> bool:
        """Works on those of them who are to be worked on now. False: nobody is."""
        asked_at = clock()
        jobs = await self._ledger.claim(users, self._owner, LEASE_SECONDS)
        if jobs:
            async with keep(self._ledger, self._owner, [job.user for job in jobs], asked_at) as leases:
                await self._work_on(jobs, leases)
        return bool(jobs)

    async def _work_on(self, jobs: Sequence[Job], leases: HeldLeases) -> None:
        ids = [job.user for job in jobs]
        stop = asyncio.create_task(self._stopping.wait())
        reading = asyncio.create_task(self._read(ids))
        try:
            await asyncio.wait({reading, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._ledger.hand_back(ids, self._owner)
                return
            users, links = reading.result()
            await self._source_gate.worked()
            tasks = {}
            for job in await self._without_poison(jobs):
                tasks[asyncio.create_task(self._one(job, users, links, leases))] = job.user
                if len(tasks) % BEGIN_AT_ONCE == 0:
                    # Answers that came meanwhile are read, and their places taken again.
                    await asyncio.sleep(0)
            await self._finish(tasks, stop)
        except SourceUnreadable as error:
            await self._source_failed(ids, error)
        finally:
            reading.cancel()
            stop.cancel()

    async def _read(self, ids: Sequence[str]) -> tuple[Mapping[str, SourceUser], Mapping[str, Link]]:
        """What Drupal says of the users and what we know of their accounts."""
        users, links = await self._read_both(ids)
        if self._lane == BULK and self._work.target.look_ups.lack_census:
            unlinked = sum(self._may_be_looked_for(links.get(each), users.get(each)) for each in ids)
            if unlinked >= MANY:
                pending = (await self._ledger.counts()).pending
                began = time.monotonic()
                await self._work.target.look_ups.take_census(len(ids) + pending)
                if time.monotonic() - began > FRESH_SECONDS:
                    return await self._read_both(ids)
        return users, links

    async def _read_both(self, ids: Sequence[str]) -> tuple[Mapping[str, SourceUser], Mapping[str, Link]]:
        users, links = await asyncio.gather(self._reader.read(ids), self._work.state.links.get_many(ids))
        await self._same_site.settle(somebody_gone=len(users) < len(ids))
        return users, links

    def _may_be_looked_for(self, link: Link | None, user: SourceUser | None) -> bool:
        """Of whoever had no account and is not active now it is known that none is due, by the config as it is."""
        if link is None or user is None or not link.rightly_absent:
            return link is None
        known = self._work.compiled.fingerprint(user, self._work.reconciler.key)
        return user.active or link.fingerprint != known

    async def _finish(self, tasks: Mapping[asyncio.Task[None], str], stop: asyncio.Task[bool]) -> None:
        """Until everybody is done. Once the gate has closed, whoever has written nothing goes back; once we are to stop, so
        does whoever is not done in a moment.
        """
        everybody: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
        closed = asyncio.create_task(self._closed.wait())
        await _first_of(everybody, stop, closed)
        if stop.done() or closed.done():
            for task, user in tasks.items():
                if self._has_written_nothing(user) and user not in self._ended:
                    task.cancel()
        closed.cancel()
        await _first_of(everybody, stop)
        if under_way := [task for task in tasks if not task.done()]:
            _, late = await asyncio.wait(under_way, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
        ended = await everybody
        back = [user for task, user in tasks.items() if task.cancelled()]
        # What was sent is in doubt in the link, so whoever is next reads before it writes.
        sent = [user for user in back if not self._has_written_nothing(user)]
        await self._ledger.hand_back(sent, self._owner, unanswered=True)
        unsent = [user for user in back if self._has_written_nothing(user)]
        await self._ledger.hand_back(unsent, self._owner, self._wait_seconds)
        if not stop.done():
            await self._work.state.send(unsent, self._lane, self._wait_seconds)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    def _has_written_nothing(self, user: str) -> bool:
        return all(method == "GET" for method in self._requests.get(user, ()))

    def _close(self, seconds: float) -> None:
        """Nobody else of this batch is to be sent for so long."""
        self._wait_seconds = max(self._wait_seconds, seconds)
        self._closed.set()

    async def _without_poison(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Users over whom workers have died too often become dead letters; a failure that is told is judged elsewhere."""
        limit = self._work.settings.limits.max_attempts
        for job in jobs:
            if job.attempt > limit:
                detail = (
                    f"gave up after {job.attempt - 1} attempts: each time the worker ended before it was done, or "
                    f"limits.max_attempts, {limit} now, was larger before"
                )
                reporter = self._work.reconciler.reporter(job)
                await self._settle(
                    job, reporter.report(OperationName.NONE, OutcomeName.FAILED, detail=detail)
                )
        return [job for job in jobs if job.attempt <= limit]

    async def _one(
        self, job: Job, users: Mapping[str, SourceUser], links: Mapping[str, Link], leases: HeldLeases
    ) -> None:
        lease = UserLease(leases, job.user)
        requests = self._requests.setdefault(job.user, [])
        SENT.set(requests)
        LEASE.set(lease)
        started = time.monotonic()
        try:
            result = await self._work.reconciler.reconcile(
                job, users.get(job.user), links.get(job.user), lease
            )
        except Throttled as error:
            await self._throttled(job, error, began=bool(requests))
        except Outage as error:
            await self._target_failed(error.detail, certain=error.certain, status_code=error.status_code)
            await self._hand_back(job, OUTAGE_SECONDS)
        except SourceUnreadable as error:
            await self._source_failed([job.user], error)
        except LeaseLostError:
            # Whoever has the user now settles it.
            await self._look_again(job)
        except Exception as error:
            # A defect of ours must not stop the others, nor go round for ever.
            self._log.exception("unexpected_error", target=job.target, user=job.user)
            failure = Transient(f"internal error ({type(error).__name__}); see the log of {self._process}")
            reporter = self._work.reconciler.reporter(job)
            await self._settle(job, reporter.failure(OperationName.NONE, failure))
        else:
            self._ended.add(job.user)
            await self._judge(result)
            duration_ms = round((time.monotonic() - started) * 1000)
            await self._settle(job, result._replace(requests=counted(requests), duration_ms=duration_ms))
        finally:
            leases.release(job.user)

    async def _throttled(self, job: Job, error: Throttled, *, began: bool) -> None:
        """Back to the queue, no attempt spent. The others wait in the throttle, unless that takes long. began: a request
        of this user was sent.
        """
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
            if not began:
                # With the others, in one message.
                raise asyncio.CancelledError
        await self._hand_back(job, seconds)

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

    async def _settle(self, job: Job, result: Result) -> None:
        settled = await self._ledger.settle(job, self._owner, result)
        if not settled.applied:
            await self._look_again(job, late=result.unanswered)
            return
        self._done += 1
        log_result(self._log, result)
        if settled.run:
            self._log.info("sync_finished", target=job.target, run_id=settled.run)
        if result.outcome is OutcomeName.PENDING:
            await self._work.state.send([job.user], _lane(job), result.retry_after_seconds or 0)
        elif settled.again:
            await self._work.state.send([job.user], settled.again)

    async def _look_again(self, job: Job, *, late: bool = False) -> None:
        """The lease has gone, and what this worker has sent may be what the account is like: the next one reads it. late: it may
        still be carried out.
        """
        if self._has_written_nothing(job.user):
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

    async def _source_failed(self, users: Sequence[str], error: SourceUnreadable) -> None:
        certain = isinstance(error, SourceIdentityLost)
        seconds = error.retry_after_seconds or OUTAGE_SECONDS
        await self._ledger.hand_back(users, self._owner, seconds)
        if await self._source_gate.failed(error.detail, certain=certain):
            self._log.error("source_unreadable", reason=error.detail)
        elif len(users) > 1:
            # It may be one of them alone who cannot be read: in halves the others get past that one.
            await self._work.state.send(users, self._lane, seconds, at_most=-(-len(users) // 2))
        else:
            # Nobody else says it where the site can be read, and this user cannot.
            self._log.warning("source_unreadable", reason=error.detail, user=users[0])


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _lane(job: Job) -> str:
    return INTERACTIVE if any(lane_of(trigger) == INTERACTIVE for trigger in job.permits) else BULK

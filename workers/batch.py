"""Working on the users of one message: claim, read Drupal once for all, reconcile each, settle each.

Each user succeeds or fails alone; one who has to wait leaves the batch and comes back in a message of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from provisioning.errors import SourceUnreadable
from provisioning.model import Job, Link, SourceUser
from provisioning.ports import SourceReader
from scim.transport import LEASE, SENT
from state.gate import Gate
from state.ledger import BULK, INTERACTIVE
from state.same_site import SameSite
from workers.leases import LEASE_SECONDS, HeldLeases, UserLease, clock, keep
from workers.outcomes import Outcomes
from workers.runtime import TargetWork
from workers.throttle import PATIENCE_SECONDS
from workers.waiting import URGENT

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
        # A lease that this process has lost may have been given to the next message in this same process.
        self._owner = f"{process}/{next(_NUMBERS)}"
        self._stopping = stopping
        self._outcomes = Outcomes(work, source_gate, process, self._owner, log)
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
            portion.took(self._outcomes.done, time.monotonic() - began)

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
            await self._outcomes.source_failed(ids, error, self._lane)
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
        closed = asyncio.create_task(self._outcomes.closed.wait())
        await _first_of(everybody, stop, closed)
        if stop.done() or closed.done():
            for task, user in tasks.items():
                if self._outcomes.may_go_back(user):
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
        sent = [user for user in back if not self._outcomes.has_written_nothing(user)]
        await self._ledger.hand_back(sent, self._owner, unanswered=True)
        unsent = [user for user in back if self._outcomes.has_written_nothing(user)]
        await self._ledger.hand_back(unsent, self._owner, self._outcomes.wait_seconds)
        if not stop.done():
            await self._work.state.send(unsent, self._lane, self._outcomes.wait_seconds)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _without_poison(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Users over whom workers have died too often become dead letters; a failure that is told is judged elsewhere."""
        limit = self._work.settings.limits.max_attempts
        for job in jobs:
            if job.attempt > limit:
                await self._outcomes.spent(job)
        return [job for job in jobs if job.attempt <= limit]

    async def _one(
        self, job: Job, users: Mapping[str, SourceUser], links: Mapping[str, Link], leases: HeldLeases
    ) -> None:
        lease = UserLease(leases, job.user)
        SENT.set(self._outcomes.requests(job.user))
        LEASE.set(lease)
        started = time.monotonic()
        try:
            result = await self._work.reconciler.reconcile(
                job, users.get(job.user), links.get(job.user), lease
            )
        except Exception as error:
            await self._outcomes.failed(job, error)
        else:
            await self._outcomes.came_of(job, result, time.monotonic() - started)
        finally:
            leases.release(job.user)


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)

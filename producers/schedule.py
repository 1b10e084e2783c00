"""The scheduler process: cron lines start full syncs; one of several schedulers leads, and sweeps."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from redis.exceptions import RedisError

from config.settings import TargetSettings, Trigger
from producers.opened import Opened
from producers.sweep import SWEEP_SECONDS, probe_source
from provisioning.errors import ProvisioningError
from state.processes import BEAT_SECONDS, Leadership, Processes
from state.runs import Run, ScannerLostError

# A cron time missed by less than this (a restart, a change of leader) is made up for.
GRACE_SECONDS = 300
# A scan that failed, as on a Drupal site that cannot be read, goes on after so long, not at the next cron time.
AGAIN_SECONDS = 300.0


class Scheduler:
    """Runs until it is cancelled. opened: this process's connections."""

    def __init__(self, opened: Opened, log: Any, again_seconds: float = AGAIN_SECONDS) -> None:
        self._opened = opened
        self._log = log
        self._again_seconds = again_seconds
        self._leadership = Leadership(opened.redis, "scheduler", opened.owner)
        self._cron = AsyncIOScheduler(job_defaults={"coalesce": True, "misfire_grace_time": GRACE_SECONDS})
        self._leading = False

    async def run(self) -> None:
        for name, settings in self._opened.settings.targets.items():
            trigger = cron_of(settings)
            if trigger is not None:
                self._cron.add_job(self._full_sync, trigger, args=[name], max_instances=1)
        self._cron.start()
        self._log.info("scheduler_started", owner=self._opened.owner)
        try:
            # Each by itself: a target that does not answer must not keep the others waiting. Not in a TaskGroup, which cancels once.
            await asyncio.gather(self._lead(), *map(self._regularly, self._sweeps()))
        finally:
            self._cron.shutdown(wait=False)
            with contextlib.suppress(Exception):
                await self._leadership.step_down()
                await Processes(self._opened.redis).withdraw("scheduler", self._opened.owner)

    async def _lead(self) -> None:
        processes, announced = Processes(self._opened.redis), self._opened.announced
        while True:
            leading = False
            # Without Redis nobody leads; it is tried again in a moment.
            with contextlib.suppress(Exception):
                await processes.announce("scheduler", self._opened.owner, announced)
                leading = await self._leadership.hold()
            if leading != self._leading:
                self._leading = leading
                self._log.info(
                    "scheduler_leading" if leading else "scheduler_standing_by", owner=self._opened.owner
                )
                if leading:
                    await self._resume()
            await asyncio.sleep(BEAT_SECONDS)

    async def _resume(self) -> None:
        """A scan whose process died goes on where it stopped, without waiting for the next cron time; but whoever was killed
        seems to lead for a shorter time than to scan. And a cron time at which nobody led is made up for.
        """
        for name, settings in self._opened.settings.targets.items():
            with contextlib.suppress(Exception):
                runs = self._opened.state(name).runs
                run = await runs.last()
                if run is None:
                    continue
                missed = overdue(settings, run.started_at)
                if missed is not None and run.finished_at is not None:
                    # Too long ago to be made up for.
                    self._log.warning("sync_missed", target=name, due=missed.isoformat(timespec="seconds"))
                if _stopped(run) or _missed(settings, run.started_at):
                    self._start(self._full_sync, name, await runs.scanner_seconds())

    def _start(self, what: Callable[[str], Coroutine[Any, Any, None]], name: str, in_seconds: float) -> None:
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=in_seconds)
        only_one = f"{what.__name__} {name}"
        self._cron.add_job(what, DateTrigger(at), args=[name], id=only_one, replace_existing=True)

    async def _go_on(self, name: str) -> None:
        """With a scan that failed, unless somebody has done that meanwhile."""
        try:
            run = await self._opened.state(name).runs.last()
        except RedisError:
            self._start(self._go_on, name, self._again_seconds)
            return
        if run is not None and _stopped(run):
            await self._full_sync(name)

    async def _full_sync(self, name: str) -> None:
        if not self._leading:
            return
        try:
            sync = await self._opened.full_sync(name)
            run_id, kind = await sync.start(Trigger.SCHEDULED.value)
            if kind != "busy":
                await sync.scan(run_id, kind)
                return
            self._log.info(
                "sync_skipped", target=name, run_id=run_id, reason="the last one is still under way"
            )
        except ScannerLostError:
            self._log.info("sync_skipped", target=name, reason="another process has taken over its scan")
        except ProvisioningError as error:
            self._log.error("source_unreadable", target=name, reason=error.detail)
        except Exception:
            self._log.exception("unexpected_error", target=name)
        # This scan failed, or the other one may: nobody else would go on with it.
        self._start(self._go_on, name, self._again_seconds)

    def _sweeps(self) -> Iterator[Callable[[], Awaitable[None]]]:
        yield partial(probe_source, self._opened.source_gate, self._opened.reader, self._log)
        for name in self._opened.settings.targets:
            yield self._opened.sweeper(name).sweep

    async def _regularly(self, sweep: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if not self._leading:
                continue
            try:
                await sweep()
            except Exception:
                self._log.exception("unexpected_error")


def cron_of(settings: TargetSettings) -> CronTrigger | None:
    """When full syncs of a target start; None when the scheduled trigger is off."""
    section = settings.scheduled
    return CronTrigger.from_crontab(section.cron) if section is not None and section.enabled else None


def _stopped(run: Run) -> bool:
    return run.finished_at is None and not run.scanned_all


def _missed(settings: TargetSettings, begun: float) -> bool:
    """Whether there was a cron time a moment ago, after the last full sync was begun."""
    now = dt.datetime.now().astimezone()
    due = next_run(settings, now - dt.timedelta(seconds=GRACE_SECONDS))
    return due is not None and begun < due.timestamp() <= now.timestamp()


def overdue(settings: TargetSettings, begun: float) -> dt.datetime | None:
    """The first cron time after the last full sync was begun, if nobody began one then, or a little later. By the time zone of this
    process.
    """
    # One that cron began: by Redis' clock that may have been a moment before.
    due = next_run(settings, dt.datetime.fromtimestamp(begun + 60).astimezone())
    late = dt.datetime.now().astimezone() - dt.timedelta(seconds=2 * GRACE_SECONDS)
    return due if due is not None and due < late else None


def next_run(settings: TargetSettings, now: dt.datetime) -> dt.datetime | None:
    """The next start of a full sync, in local time."""
    trigger = cron_of(settings)
    following: dt.datetime | None = trigger.get_next_fire_time(None, now) if trigger else None
    return following

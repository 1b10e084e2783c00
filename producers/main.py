"""The producers' processes: `scimpipe changes` and `scimpipe scheduler`. A composition root."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError

from config.settings import Settings, Trigger
from producers.changes import ChangeDetection
from producers.opened import Opened, opened
from producers.schedule import Scheduler
from provisioning.errors import SourceIdentityLost, SourceUnreadable
from state.connection import log_warnings
from state.polls import Polls
from state.processes import BEAT_SECONDS, Leadership, Processes, abandoned

CANCELLED_AGAIN_SECONDS = 2.0

_Body = Callable[[Opened], Awaitable[None]]


async def run_scheduler(settings: Settings, log: Any) -> None:
    """Until SIGTERM or SIGINT. Raises MappingError, RedisUnavailable."""
    await _until_stopped(settings, log, lambda all_of_it: Scheduler(all_of_it, log).run())


async def run_changes(settings: Settings, log: Any) -> None:
    """Polls Drupal until SIGTERM or SIGINT. Raises MappingError, RedisUnavailable."""
    await _until_stopped(settings, log, _poll_for_ever)


async def _until_stopped(settings: Settings, log: Any, body: _Body) -> None:
    async with opened(settings, log) as all_of_it:
        await log_warnings(log, all_of_it.redis, settings)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        work = asyncio.ensure_future(body(all_of_it))
        watch = asyncio.create_task(_watch_parent(stop, log))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        if work.done():
            work.result()
        await cancelled(work)


async def cancelled(work: asyncio.Future[None]) -> None:
    """Ends it. A cancellation can be lost in redis-py, by asyncio.wait_for of Python 3.11: work that begins to wait just then
    goes on, and this process would never end.
    """
    while not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=CANCELLED_AGAIN_SECONDS)


async def _watch_parent(stop: asyncio.Event, log: Any) -> None:
    """A process whose parent was killed would never be told to end."""
    while not stop.is_set():
        if abandoned():
            log.warning("abandoned")
            stop.set()
        await asyncio.sleep(BEAT_SECONDS)


async def _poll_for_ever(all_of_it: Opened) -> None:
    seconds = all_of_it.settings.drupal.poll_seconds
    if seconds == 0:
        all_of_it.log.info("changes_off", reason="drupal.poll_seconds is 0")
        await asyncio.Event().wait()
    targets = [
        name
        for name, target in all_of_it.settings.targets.items()
        if target.trigger(Trigger.AUTOMATIC) is not None
    ]
    detection = all_of_it.change_detection(targets)
    leadership = Leadership(all_of_it.redis, "changes", all_of_it.owner, seconds=max(15.0, 3 * seconds))
    announcing = asyncio.create_task(_announce(all_of_it))
    try:
        while True:
            started = time.monotonic()
            await poll_once(all_of_it, leadership, detection)
            await asyncio.sleep(rest(seconds, time.monotonic() - started))
    finally:
        announcing.cancel()
        # Else the next one would wait for three polls' time.
        with contextlib.suppress(RedisError):
            await leadership.step_down()
            await Processes(all_of_it.redis).withdraw("changes", all_of_it.owner)


async def _announce(all_of_it: Opened) -> None:
    announced = all_of_it.announced
    while True:
        with contextlib.suppress(RedisError):
            await Processes(all_of_it.redis).announce("changes", all_of_it.owner, announced)
        await asyncio.sleep(BEAT_SECONDS)


def rest(period: float, took: float) -> float:
    """Seconds until the next poll. period: from start to start, so that nobody waits longer because of how long a poll takes;
    but polls that take most of it leave the database to others half of the time.
    """
    return max(period - took, took)


async def poll_once(all_of_it: Opened, leadership: Leadership, detection: ChangeDetection) -> None:
    """One of several pollers polls. What goes wrong is told and tried again at the next turn."""
    try:
        if await leadership.hold() and (await all_of_it.source_gate.health()).open:
            await _poll(all_of_it, detection)
    except Exception:
        all_of_it.log.exception("unexpected_error")


async def _poll(all_of_it: Opened, detection: ChangeDetection) -> None:
    gate, polls = all_of_it.source_gate, Polls(all_of_it.redis)
    try:
        await detection.poll()
        await gate.worked()
        # Who has left is looked for now and then only: polls between two such looks do not make up for one that fails.
        if detection.departures.failing:
            await polls.failed(detection.departures.failing)
        else:
            await polls.ended()
    except SourceUnreadable as error:
        first = await polls.failed(error.detail)
        if await gate.failed(error.detail, certain=isinstance(error, SourceIdentityLost)):
            all_of_it.log.error("source_unreadable", reason=error.detail)
        elif first:
            # The gate may stay open, as workers read what polls cannot.
            all_of_it.log.warning("source_unreadable", reason=error.detail)
    except RedisError:
        raise
    except Exception as error:
        await polls.failed(f"internal error ({type(error).__name__}); see the log of change detection")
        raise

"""The life of a worker process: it announces itself, works, and on SIGTERM hands back what it has not begun."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import dramatiq
import uvloop
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO, Middleware

from config.collector import collect_less_often
from config.digest import config_digest
from state.connection import log_warnings
from state.ledger import BULK, INTERACTIVE
from state.processes import BEAT_SECONDS, Announced, Processes, process_id
from workers.parents import watch_parents
from workers.runtime import Runtime

LANES = (BULK, INTERACTIVE)
# Where Redis does not answer, the announcement ends by itself.
WITHDRAW_SECONDS = 3.0


class EventLoop(AsyncIO):
    """dramatiq's event loop thread, on uvloop, and a daemon: a worker that is told to end twice (a supervisor signals
    every process, and so does its parent) exits at once, and must not be kept alive by this thread.
    """

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        thread = EventLoopThread(self.logger)
        thread.daemon = True
        thread.start(timeout=5.0)
        set_event_loop_thread(thread)


class Lifecycle(Middleware):
    """Starts before the event loop does and ends after it. runtime: set by the composition root."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.owner = process_id()
        self.runtime: Runtime | None = None
        self.stopping = asyncio.Event()
        self._lanes: tuple[str, ...] = LANES
        self._beat: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def opened(self) -> Runtime:
        assert self.runtime is not None, "workers.main.boot sets it"
        return self.runtime

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        # What waits here could be done by another worker; fetching the next one when a thread is free takes a millisecond.
        worker.queue_prefetch = worker.worker_threads

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        self._lanes = tuple(sorted(worker.consumer_whitelist or LANES))
        thread = get_event_loop_thread()
        assert thread is not None, "EventLoop has started it"
        thread.run_coroutine(self._start())
        watch_parents(self.log, self.owner)
        gc.collect()
        collect_less_often()
        self.log.info("worker_started", owner=self.owner)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        # Requests under way finish; the rest of each batch goes back.
        thread = get_event_loop_thread()
        if thread is not None:
            thread.loop.call_soon_threadsafe(self.stopping.set)
            thread.run_coroutine(self._withdraw())

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        self.log.info("worker_stopped", owner=self.owner)

    async def _start(self) -> None:
        self._beat = asyncio.create_task(self._announce())
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        # What cannot be opened now is told of by the first job.
        with contextlib.suppress(Exception):
            await self.opened.open_all()

    async def _announce(self) -> None:
        with contextlib.suppress(Exception):
            await log_warnings(self.log, await self.opened.connect(), self.opened.settings)
        announced = Announced(config_digest(self.opened.settings), self._lanes)
        while True:
            with contextlib.suppress(Exception):
                await Processes(await self.opened.connect()).announce("worker", self.owner, announced)
            await asyncio.sleep(BEAT_SECONDS)

    async def _withdraw(self) -> None:
        """Nobody is to wait for a worker that is about to end."""
        if self._beat is not None:
            self._beat.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await Processes(await self.opened.connect()).withdraw("worker", self.owner)

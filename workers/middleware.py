"""The life of a worker process: it announces itself, works, and on SIGTERM hands back what it has not begun."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import dramatiq
import uvloop
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware

from state.processes import BEAT_SECONDS, Processes, process_id
from workers.runtime import Runtime


class Lifecycle(Middleware):
    """Starts before AsyncIO's event loop does and ends after it. runtime: set by the composition root."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.owner = process_id()
        self.runtime: Runtime | None = None
        self.stopping = False
        self._beat: asyncio.Task[None] | None = None

    @property
    def opened(self) -> Runtime:
        assert self.runtime is not None, "workers.main.boot sets it"
        return self.runtime

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        # AsyncIO, next in line, makes its event loop from this policy.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        thread = get_event_loop_thread()
        assert thread is not None, "AsyncIO has started it"
        thread.run_coroutine(self._start())
        self.log.info("worker_started", owner=self.owner)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        # Users that are being worked on finish; the rest of each batch goes back.
        self.stopping = True

    def before_consumer_thread_shutdown(self, broker: dramatiq.Broker, thread: Any) -> None:
        """Nothing: consumers end after the workers."""

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        # dramatiq runs `after` hooks in reverse: AsyncIO's loop is still there only before this one.
        self.log.info("worker_stopped", owner=self.owner)

    async def _start(self) -> None:
        self._beat = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                await Processes(await self.opened.connect()).announce("worker", self.owner)
            await asyncio.sleep(BEAT_SECONDS)

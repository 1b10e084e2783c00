"""How many requests are under way at once: found out by trying, below the configured limit.

Additive increase, multiplicative decrease, as TCP does it: one more after a full round of good answers, half
after a 429, a 503 or a timeout. One throttle for each target in each worker process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

START = 8
PUSHED_BACK = frozenset({429, 503})


class Pace(Protocol):
    async def wait_seconds(self) -> float:
        """How long the next request has to wait (state.rate)."""


class Throttle:
    """An adaptive semaphore. limit: the most the operator allows (limits.concurrency); pace: the rate all workers
    share, None without one.
    """

    def __init__(self, limit: int, pace: Pace | None = None) -> None:
        self._most = limit
        self._pace = pace
        self._allowed = float(min(START, limit))
        self._under_way = 0
        self._waiting: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    @property
    def allowed(self) -> int:
        """Requests that may be under way now, at least 1."""
        return max(1, int(self._allowed))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for room for one request and holds it."""
        while self._under_way >= self.allowed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.put_nowait(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # It may have been this one's turn: then it is the next one's.
                self._wake()
                raise
        self._under_way += 1
        try:
            if self._pace is not None:
                await asyncio.sleep(await self._pace.wait_seconds())
            yield
        finally:
            self._under_way -= 1
            self._wake()

    def observed(self, status: int | None, seconds: float) -> None:  # noqa: ARG002  # the port offers the duration too
        """Learns from an answer. status: None when there was none (timeout, reset)."""
        if status is None or status in PUSHED_BACK:
            self._allowed = max(1.0, self._allowed / 2)
            return
        self._allowed = min(float(self._most), self._allowed + 1 / self._allowed)
        self._wake()

    def _wake(self) -> None:
        free = self.allowed - self._under_way
        while free > 0 and not self._waiting.empty():
            turn = self._waiting.get_nowait()
            if not turn.done():
                turn.set_result(None)
                free -= 1

"""Lets requests go: as many at a time as serve best (workers.concurrency), none while the target has asked everybody to
wait, and where it allows so many a second, each at its moment (state.rate). One for each target in each worker process.

As long as a target has never asked to wait, a request costs no question to Redis: whether the gate is open is looked
up now and then. Since then, moments are taken a few at a time, no further ahead than a fraction of a second, so that all
processes hear of a closed gate within that time, and whoever waits for a person is let go first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from scim.errors import TooManyRequests
from state.rate import Moments
from workers.recent import Recent
from workers.waiting import Waiting

# Whoever would have to wait longer than this for the gate goes back to the queue.
PATIENCE_SECONDS = 5.0
# How often the gate is looked at while requests flow; and, by those who wait, while they do: a person may open it.
LOOK_SECONDS, LONGEST_SLEEP_SECONDS = 0.05, 0.5
# Retry-After: 0 means that this very request is to be repeated, not that everybody goes on.
SHORTEST_WAIT_SECONDS = 1.0
# Too much at a time. A gateway that gives up (502, 504) takes as long however many are under way, while what is behind it goes on
# with what was given up.
PUSHED_BACK = frozenset({429, 502, 503, 504})


class Limit(Protocol):
    """How many requests may be under way (workers.concurrency)."""

    @property
    def allowed(self) -> int: ...

    @property
    def level(self) -> int: ...

    def answered(self, level: int | None, kind: str, seconds: float) -> None: ...

    def pushed_back(self) -> None: ...


class Pace(Protocol):
    """The moments all processes share (state.rate)."""

    async def take(self, wanted: int, *, urgent: bool = False) -> Moments: ...

    async def emptied(
        self, retry_after_seconds: float, moment: float, passed: int, passed_seconds: float
    ) -> None: ...

    async def close(self, seconds: float) -> None: ...


@dataclass(slots=True)
class Turn:
    """scim.transport.Turn, and the place it holds: entered, it waits for it. (Made of a generator it would cost more than all
    the rest.) level: for workers.concurrency. moment: the one it was given, 0 where none are. began: on the throttle's clock.
    """

    throttle: Throttle
    kind: str
    level: int | None = None
    moment: float = 0.0
    began: float = 0.0

    async def __aenter__(self) -> Self:
        await self.throttle.enter(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.throttle.leave()

    def answered(self, status: int | None, retry_after_seconds: float | None = None) -> None:
        """status: None when there was no answer (timeout, reset)."""
        self.throttle.observed(self, status, retry_after_seconds)


class Throttle:
    """scim.transport.Limiter. pace: what all processes share; without one only the number at a time is limited. clock:
    monotonic seconds.
    """

    def __init__(
        self, concurrency: Limit, pace: Pace | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.concurrency = concurrency
        self.clock = clock
        self._pace = pace
        # Until Redis has been asked once, the gate may be closed and a rate known.
        self._asks = pace is not None
        self._closed_until = 0.0
        self._looked_at = 0.0
        # Push backs of ours, and those of them that Redis has not heard of yet.
        self._closings = self._untold = 0
        self._under_way = 0
        self._waiting = Waiting()
        self._room = asyncio.Event()
        self._recent = Recent(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    def slot(self, kind: str = "") -> Turn:
        """kind: what requests it is like."""
        return Turn(self, kind)

    async def enter(self, turn: Turn) -> None:
        """Waits until one request may be sent, and holds its place. Raises TooManyRequests where the gate is closed for
        longer than anybody waits here.
        """
        if not self._asks:
            self._look()
        if self._asks or self._free() < 1 or self._waiting.anybody:
            turn.moment = await self._turn()
        else:
            self._under_way += 1
        turn.level = self.concurrency.level if self._under_way >= self.concurrency.allowed else None
        turn.began = self.clock()

    def leave(self) -> None:
        self._under_way -= 1
        self._wake()

    def observed(self, turn: Turn, status: int | None, retry_after_seconds: float | None = None) -> None:
        """Learns from an answer: how many at a time, and how many a second."""
        wait = None if retry_after_seconds is None else retry_after_seconds or SHORTEST_WAIT_SECONDS
        if (status == 429 or (status == 403 and wait is not None)) and self._pace is not None:
            # It wants less in a second, not less at a time.
            self._close(wait or SHORTEST_WAIT_SECONDS, turn.moment)
        elif status is None or status in PUSHED_BACK:
            self.concurrency.pushed_back()
            if wait is not None:
                self._close(wait)
        else:
            self._recent.add()
            # How long a failure takes says nothing of how many serve best.
            if status < 500 or status == 501:
                self.concurrency.answered(turn.level, turn.kind, self.clock() - turn.began)

    # -- whose turn it is ----------------------------------------------------------------------------------------

    def _free(self) -> int:
        return self.concurrency.allowed - self._under_way

    async def _turn(self) -> float:
        turn = self._waiting.join()
        self._wake()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # It had been let go already: the place is the next one's.
                self._under_way -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        if self._free() < 1:
            return
        if not self._asks:
            while self._free() > 0 and self._let_go():
                pass
        elif self._pump is None:
            if self._waiting.anybody:
                self._pump = self._start(self._let_go_by_moments())
        else:
            self._room.set()

    def _let_go(self, moment: float = 0.0) -> bool:
        if not self._waiting.let_go(moment):
            return False
        self._under_way += 1
        return True

    # -- moments -------------------------------------------------------------------------------------------------

    async def _let_go_by_moments(self) -> None:
        """While anybody waits and Redis has to be asked first."""
        try:
            while self._asks and self._waiting.anybody:
                if self._free() < 1:
                    self._room.clear()
                    await self._room.wait()
                    continue
                await self._let_some_go(urgent=self._waiting.urgent)
        except Exception as failure:
            # Redis cannot be asked: whoever waits is told, and the queue tries again.
            error = failure
            self._waiting.refuse(lambda: error)
        finally:
            self._pump = None
            self._wake()

    async def _let_some_go(self, *, urgent: bool) -> None:
        assert self._pace is not None, "whoever asks has somebody to ask"
        closed = self._closed_seconds()
        if 0 < closed <= PATIENCE_SECONDS:
            await asyncio.sleep(min(closed, LONGEST_SLEEP_SECONDS))
            if self._free() < 1:
                # Fewer may be under way than before.
                return
        wanted = 1 if urgent else min(self._free(), len(self._waiting))
        moments = await self._take(self._pace, wanted, urgent=urgent)
        if (closed := self._closed_seconds()) > 0:
            if closed > PATIENCE_SECONDS:
                self._waiting.refuse(lambda: TooManyRequests(429, retry_after_seconds=closed))
            return
        if moments.paced and not moments.count:
            await asyncio.sleep(min(moments.first, LONGEST_SLEEP_SECONDS))
        began = self.clock()
        for number in range(moments.count):
            if (wait := began + moments.first + number * moments.between - self.clock()) > 0:
                await asyncio.sleep(wait)
            # Closed meanwhile: moments that are not used are nobody's.
            if self._closed_seconds() > 0 or not self._let_go(moments.moment(number)):
                return

    async def _take(self, pace: Pace, wanted: int, *, urgent: bool = False) -> Moments:
        told, closings = not self._untold, self._closings
        self._looked_at = began = self.clock()
        moments = await pace.take(wanted, urgent=urgent)
        if told and closings == self._closings:
            self._closed_until = began + moments.closed if moments.closed > 0 else 0.0
        self._asks = moments.paced or self._closed_seconds() > 0
        return moments

    # -- the gate ------------------------------------------------------------------------------------------------

    def _closed_seconds(self) -> float:
        return self._closed_until - self.clock()

    def _look(self) -> None:
        """Now and then, beside the requests: has somebody closed the gate?"""
        if self._pace is not None and self.clock() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self.clock()
            self._start(self._look_up(self._pace))

    async def _look_up(self, pace: Pace) -> None:
        # Redis away for a moment: the next look tells.
        with suppress(Exception):
            await self._take(pace, 0)
        self._wake()

    def _close(self, seconds: float, moment: float | None = None) -> None:
        """Here at once, and for everybody. moment: of a request that was answered 429."""
        self._closed_until = max(self._closed_until, self.clock() + seconds)
        if self._pace is not None:
            self._asks = True
            self._closings += 1
            self._untold += 1
            self._start(self._tell(self._pace, seconds, moment))

    async def _tell(self, pace: Pace, seconds: float, moment: float | None) -> None:
        try:
            if moment is None:
                await pace.close(seconds)
            else:
                await pace.emptied(seconds, moment, *self._recent.take())
        finally:
            self._untold -= 1

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

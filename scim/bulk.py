"""Writes of users who wait at the same moment, gathered into Bulk requests (RFC 7644 3.7); each user gets their own answer.

Nobody here knows of batches: whoever writes waits a moment for company. Those who wait go out together when a request is
full, or when nobody new has come for a few milliseconds; a lone user goes in a request of its own, at once. A Bulk request first
gets its turn to send, and then takes in who waits: until then a user can leave, and a lost lease is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

from scim.bulk_limits import BulkLimits
from scim.bulk_load import Load, NoCompanyError, Outcome, Waiting
from scim.bulk_message import BULK_PATH, FRAME_BYTES, bulk_answers, operation
from scim.errors import NoAnswer, UnusableAnswer
from scim.transport import LEASE, SENT, Answer, Transport
from scim.writes import SingleRequests

# Whoever comes so long after everybody else is most likely alone, and is not to wait for company.
ALONE_SECONDS = 1.0
# Nobody new for so long: those who wait are all there are.
QUIET_SECONDS = 0.003
# However they trickle in.
LONGEST_SECONDS = 0.05
# Refused before anything was done; 403: this credential may not use Bulk.
_REFUSED = frozenset({400, 403, 415})
_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})
# Said of the request, and as true of each operation in it; so is 5xx.
_OF_EACH = frozenset({401, 408, 425, 429})
# Says that it did not begin, and by its size nothing would change; but some proxies say it of each Bulk request.
_NOT_BEGUN = frozenset({408, 425, 503})
_UNSAID = "the target answered a Bulk request without saying what became of this operation"


class Bulk:
    """scim.writes.Writes for a target that may offer Bulk."""

    def __init__(self, transport: Transport, limits: BulkLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._single = SingleRequests(transport)
        # In order of arrival; a dict, because anybody may leave.
        self._waiting: dict[Waiting, None] = {}
        self._came = 0
        self._came_at = float("-inf")
        self._look_at: asyncio.Handle | None = None
        self._gathered_by = 0.0
        self._requests: set[asyncio.Task[None]] = set()
        # Requests that have not got their turn yet.
        self._unfilled = 0

    async def write(self, method: str, path: str, body: Any = None, version: str | None = None) -> Answer:
        if self._limits.off:
            return await self._single.write(method, path, body, version)
        self._came += 1
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        asked = operation(method, path, body, version, str(self._came))
        waiting = Waiting(asked, outcome, SENT.get(), LEASE.get())
        self._gather(waiting)
        try:
            told = await outcome
        finally:
            self._waiting.pop(waiting, None)
        if isinstance(told, Answer):
            return told
        if told is not None:
            raise told
        return await self._single.write(method, path, body, version)

    async def close(self) -> None:
        """Whoever waits is cancelled."""
        for waiting in self._waiting:
            waiting.outcome.cancel()
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)

    # -- who goes together. Each who waits is waited for: by a look, or by a request that has not got its turn --------

    def _gather(self, waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        in_company, self._came_at = now < self._came_at + ALONE_SECONDS, now
        self._waiting[waiting] = None
        if len(self._waiting) >= self._limits.operations * (self._unfilled + 1):
            self._send()
        elif self._look_at is None:
            self._gathered_by = now + LONGEST_SECONDS
            # A turn of the loop shows at least who comes at the very same moment.
            self._look_at = (
                loop.call_later(QUIET_SECONDS, self._look, self._came)
                if in_company
                else loop.call_soon(self._look, self._came)
            )

    def _look(self, seen: int) -> None:
        """Sends those who wait, unless somebody has come since `seen` had come."""
        loop = asyncio.get_running_loop()
        self._look_at = None
        if self._came != seen and loop.time() < self._gathered_by:
            self._look_at = loop.call_later(QUIET_SECONDS, self._look, self._came)
        elif len(self._waiting) == 1 and not self._unfilled:
            self._each_alone()
        else:
            self._send()

    def _send(self) -> None:
        """As many requests as those who wait fill, the last one perhaps not whole."""
        while self._unfilled * self._limits.operations < len(self._waiting):
            self._unfilled += 1
            request = asyncio.get_running_loop().create_task(self._request())
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    def _take(self) -> Sequence[Waiting]:
        """Those who fit into one request, the first ones first."""
        self._unfilled -= 1
        taken: list[Waiting] = []
        size, most = FRAME_BYTES, self._limits.payload_bytes
        while self._waiting and len(taken) < self._limits.operations:
            waiting = next(iter(self._waiting))
            if taken and size + waiting.bytes > most:
                break
            del self._waiting[waiting]
            if waiting.has_left():
                continue
            if FRAME_BYTES + waiting.bytes > most:
                waiting.settle(None)
            else:
                size += waiting.bytes
                taken.append(waiting)
        if self._look_at is None:
            self._send()
        return taken

    def _put_back(self, waiting: Sequence[Waiting]) -> None:
        self._waiting = {
            **dict.fromkeys(each for each in waiting if not each.outcome.done()),
            **self._waiting,
        }
        self._send()

    def _each_alone(self) -> None:
        for waiting in self._waiting:
            waiting.settle(None)
        self._waiting.clear()

    # -- one request, and what became of it ----------------------------------------------------------------------------

    async def _request(self) -> None:
        # It began in one user's task, and each one's lease is asked as it is sent.
        LEASE.set(None)
        load = Load(self._take)
        try:
            if not await self._limits.offered():
                self._each_alone()
                return
            answer = await self._transport.request("POST", BULK_PATH, content=load.content)
            await self._judge(load, answer)
        except NoCompanyError:
            return
        except asyncio.CancelledError:
            load.cancel()
            raise
        except Exception as error:
            self._failed(load, error)
        finally:
            if not load.filled:
                self._unfilled -= 1

    def _failed(self, load: Load, error: Exception) -> None:
        if isinstance(error, NoAnswer | UnusableAnswer):
            self._limits.lost(len(load.waiting))
        if not load.filled:
            # It failed before its turn, as without a credential: so would have those who were to go.
            load.fill()
        load.settle(error)

    async def _judge(self, load: Load, answer: Answer) -> None:
        """What the target said of the request as a whole; of each operation in it, `_judge_each`."""
        count, status = len(load.waiting), answer.status
        if status == 413:
            # Before they are put back; where it cannot be learned, they would be refused again and again.
            if await self._learn(self._limits.too_large(count, load.bytes)):
                self._put_back(load.waiting)
            else:
                load.settle(None)
        elif status in _NO_SUCH_ENDPOINT:
            load.settle(None)
            await self._learn(self._limits.missing())
        elif status in _REFUSED:
            load.settle(None)
            await self._learn(self._limits.refused())
        elif status in _OF_EACH or status >= 500:
            if status in _NOT_BEGUN:
                self._limits.put_off()
            elif status >= 500:
                self._limits.lost(count)
            load.settle(answer)
        else:
            await self._judge_each(load, answer)

    async def _judge_each(self, load: Load, answer: Answer) -> None:
        count, seconds = len(load.waiting), load.seconds
        operations = [each.operation for each in load.waiting]
        answers = bulk_answers(operations, answer.body) if answer.status < 300 else [None] * count
        for waiting, said in zip(load.waiting, answers, strict=True):
            waiting.told(said) if said else waiting.settle(NoAnswer(_UNSAID))
        if not any(answers):
            await self._learn(self._limits.refused())
        elif all(answers):
            self._limits.answered(count, seconds)
        else:
            self._limits.lost(count)

    async def _learn(self, learning: Awaitable[None]) -> bool:
        """False: it could not be written down, and is learned again another time."""
        with suppress(Exception):
            await learning
            return True
        return False

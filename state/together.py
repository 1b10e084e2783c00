"""What many coroutines ask of Redis at the same time goes there in one call: a round trip costs more than what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

MOST = 500
# Between the starts of two calls, after one that carried so many; after fewer it is shorter in proportion, so that they come
# together only where there are a thousand a second: a person may wait for a lone user. Whoever comes after a quiet moment is
# sent at once.
PAUSE_SECONDS, MANY = 0.05, 50


class Together(Generic[Asked, Answered]):
    """Gathers what is asked while a call is under way, or within PAUSE_SECONDS of its start, into the next one.

    call: takes up to MOST items, gives an answer for each in the same order. What it raises, everybody asking gets.
    """

    def __init__(self, call: Callable[[Sequence[Asked]], Awaitable[Sequence[Answered]]]) -> None:
        self._call = call
        self._waiting: list[tuple[Asked, asyncio.Future[Answered]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._next_at = 0.0

    def ask(self, item: Asked) -> asyncio.Future[Answered]:
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())
        return answer

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if len(self._waiting) < MOST and (early := self._next_at - loop.time()) > 0:
                await asyncio.sleep(early)
            taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._next_at = loop.time() + PAUSE_SECONDS * min(1.0, len(taken) / MANY)
            # Whoever was cancelled before it was sent is not sent.
            await self._send([(item, answer) for item, answer in taken if not answer.done()])

    async def _send(self, asked: Sequence[tuple[Asked, asyncio.Future[Answered]]]) -> None:
        if not asked:
            return
        try:
            answers = await self._call([item for item, _ in asked])
        except Exception as error:
            for _, waiting in asked:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(asked, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)

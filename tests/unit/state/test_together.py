"""What many ask at once goes out in one call, and each gets the answer to what it asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from state.together import MOST, Together


class Called:
    """Answers each number with ten times as much, once it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[Sequence[int]] = []
        self.let, self.under_way = asyncio.Event(), asyncio.Event()
        self.error = error

    async def __call__(self, asked: Sequence[int]) -> Sequence[int]:
        self.calls.append(asked)
        self.under_way.set()
        await self.let.wait()
        if self.error:
            raise self.error
        return [10 * each for each in asked]


def asked_all(together: Together[int, int], count: int) -> list[asyncio.Future[int]]:
    return [together.ask(number) for number in range(count)]


def test_each_gets_its_own_answer_and_no_call_has_too_many():
    async def run() -> None:
        called = Called()
        called.let.set()
        answers = asked_all(Together(called), MOST + 50)
        assert await asyncio.gather(*answers) == [10 * number for number in range(MOST + 50)]
        assert list(map(len, called.calls)) == [MOST, 50]

    asyncio.run(run())


def test_what_is_asked_meanwhile_goes_into_the_next_call():
    async def run() -> None:
        called = Called()
        together = Together(called)
        first = together.ask(1)
        await called.under_way.wait()
        later = [together.ask(number) for number in (2, 3)]
        called.let.set()
        assert await asyncio.gather(first, *later) == [10, 20, 30]
        assert called.calls == [[1], [2, 3]]

    asyncio.run(run())


def test_whoever_gave_up_before_it_was_sent_is_not_sent_and_shifts_nobodys_answer():
    async def run() -> None:
        called = Called()
        called.let.set()
        answers = asked_all(Together(called), 3)
        answers[1].cancel()
        assert [await answers[0], await answers[2]] == [0, 20]
        assert answers[1].cancelled()
        assert called.calls == [[0, 2]]

    asyncio.run(run())


def test_an_error_is_everybodys_and_the_next_call_is_made_all_the_same():
    async def run() -> None:
        called = Called(error=ConnectionError())
        called.let.set()
        together = Together(called)
        for answer in asked_all(together, 2):
            with pytest.raises(ConnectionError):
                await answer
        called.error = None
        assert await together.ask(7) == 70

    asyncio.run(run())

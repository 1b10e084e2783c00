"""Every request ends in time, with one timer for all of them."""

from __future__ import annotations

import asyncio
import time

import pytest

from scim.deadlines import Deadlines

SECONDS = 0.1


async def waits(deadlines: Deadlines, seconds: float) -> str:
    deadline = deadlines.begin()
    try:
        async with deadline:
            await asyncio.sleep(seconds)
        return "done"
    except TimeoutError:
        return "late"
    finally:
        deadlines.end(deadline)


def test_who_is_late_is_ended_and_nobody_else():
    async def scenario() -> None:
        deadlines = Deadlines(SECONDS)
        began = time.monotonic()
        ended = await asyncio.gather(*(waits(deadlines, each) for each in (30, 0, SECONDS / 2, 30)))
        assert ended == ["late", "done", "done", "late"]
        assert SECONDS <= time.monotonic() - began < 10

    asyncio.run(scenario())


def test_each_has_the_whole_time_from_its_own_beginning():
    async def scenario() -> None:
        deadlines = Deadlines(SECONDS)
        first = asyncio.create_task(waits(deadlines, 30))
        await asyncio.sleep(SECONDS * 0.6)
        second = asyncio.create_task(waits(deadlines, SECONDS * 0.8))
        assert (await first, await second) == ("late", "done")

    asyncio.run(scenario())


def test_it_goes_on_after_a_quiet_time():
    async def scenario() -> None:
        deadlines = Deadlines(SECONDS)
        assert await waits(deadlines, 0) == "done"
        await asyncio.sleep(SECONDS * 1.5)
        assert await waits(deadlines, 30) == "late"

    asyncio.run(scenario())


def test_a_cancellation_from_outside_stays_one():
    async def scenario() -> None:
        deadlines = Deadlines(30)
        task = asyncio.create_task(waits(deadlines, 30))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())

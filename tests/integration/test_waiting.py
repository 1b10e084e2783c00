"""Waiting for the results of manual work, on a real Valkey: told as they are written, never left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from config.settings import MappedValue, OperationName, TargetSettings, Trigger
from producers import submission
from producers.manual import submit
from producers.submission import TargetClosedError, WaitedTooLongError, wait_for
from provisioning.model import OutcomeName, Result
from state.target_state import TargetState
from tests.support.valkey import with_redis

# Much longer than a test takes.
LONG = 60.0
USERS = [f"u-{number}" for number in range(1300)]


class Nowhere:
    """Where messages go."""

    def enqueue(self, message: Any, *, delay: int | None = None) -> None: ...


class World:
    def __init__(self, client: Any) -> None:
        mapping = {"userName": MappedValue(value="name")}
        settings = TargetSettings(name="acme", base_url="https://acme.example", mapping=mapping)
        self.state = TargetState.of(client, Nowhere(), settings)
        self.client = client

    async def finish(self, users: Sequence[str]) -> None:
        """What a worker does."""
        for job in await self.state.ledger.claim(users, "w", 30):
            done = Result("acme", job.user, Trigger.MANUAL, OperationName.CREATE, OutcomeName.DONE)
            await self.state.ledger.settle(job, "w", done)

    async def someone_waits(self, waiters: int = 1) -> None:
        async with asyncio.timeout(10):
            while (await self.client.info("clients"))["blocked_clients"] < waiters:  # noqa: ASYNC110  # it is Redis's to know
                await asyncio.sleep(0.01)


@pytest.fixture
def world(redis_url, monkeypatch):
    monkeypatch.setattr(submission, "LOOK_SECONDS", LONG)
    return lambda body: with_redis(redis_url, lambda client: body(World(client)))


async def soon(waiting: Any) -> Any:
    async with asyncio.timeout(10):
        return await waiting


def test_everybody_who_waits_is_told_as_the_result_is_written(world):
    async def body(world):
        first = await submit(world.state, ["u-1"])
        second = await submit(world.state, ["u-1", "u-2"])
        waiting = [asyncio.create_task(wait_for(world.state, each, LONG)) for each in (first, second)]
        await world.someone_waits(2)
        await world.finish(["u-1"])
        assert (await soon(waiting[0]))["u-1"].operation is OperationName.CREATE
        assert not waiting[1].done()
        await world.finish(["u-2"])
        assert set(await soon(waiting[1])) == {"u-1", "u-2"}

    world(body)


def test_a_result_that_was_there_before_is_found(world):
    async def body(world):
        submitted = await submit(world.state, ["u-1"])
        await world.finish(["u-1"])
        assert set(await soon(wait_for(world.state, submitted, LONG))) == {"u-1"}

    world(body)


@pytest.mark.parametrize("moment", ["last_told", "results", "health"])
def test_a_result_that_comes_at_any_moment_before_the_wait_is_found(world, monkeypatch, moment):
    async def body(world):
        submitted = await submit(world.state, ["u-1"])
        part = world.state.gate if moment == "health" else world.state.ledger
        asked = getattr(part, moment)

        async def and_then_it_comes(*arguments: Any) -> Any:
            answer = await asked(*arguments)
            await world.finish(["u-1"])
            return answer

        monkeypatch.setattr(part, moment, and_then_it_comes)
        assert set(await soon(wait_for(world.state, submitted, LONG))) == {"u-1"}

    world(body)


def test_an_older_result_of_the_same_user_is_not_taken_for_this_one(world):
    async def body(world):
        await submit(world.state, ["u-1"])
        await world.finish(["u-1"])
        again = await submit(world.state, ["u-1"])
        waiting = asyncio.create_task(wait_for(world.state, again, LONG))
        await world.someone_waits()
        assert not waiting.done()
        await world.finish(["u-1"])
        await soon(waiting)

    world(body)


def test_many_are_waited_for_though_more_is_told_than_is_kept(world, monkeypatch):
    monkeypatch.setattr(submission, "LOOK_SECONDS", 0.2)

    async def body(world):
        submitted = await submit(world.state, USERS)
        read, finished = world.state.ledger.told, asyncio.Event()

        async def slowly(since: str, seconds: float) -> Any:
            await finished.wait()
            return await read(since, seconds)

        monkeypatch.setattr(world.state.ledger, "told", slowly)
        waiting = asyncio.create_task(wait_for(world.state, submitted, LONG))
        await world.finish(USERS)
        assert await world.client.xlen("scimpipe:{acme}:told") < len(USERS) - 50
        finished.set()
        assert set(await soon(waiting)) == set(USERS)

    world(body)


def test_a_redis_that_was_emptied_and_a_clock_that_was_set_back_leave_nobody_waiting(world, monkeypatch):
    monkeypatch.setattr(submission, "LOOK_SECONDS", 0.2)

    async def body(world):
        told = "scimpipe:{acme}:told"
        await world.client.xadd(told, {"u": "u-0"}, id="99999999999999-1")
        submitted = await submit(world.state, ["u-1"])
        waiting = asyncio.create_task(wait_for(world.state, submitted, LONG))
        await world.someone_waits()
        await world.client.delete(told)
        await world.finish(["u-1"])
        assert set(await soon(waiting)) == {"u-1"}

    world(body)


def test_a_gate_that_closes_ends_the_wait_with_the_results_so_far(world, monkeypatch):
    monkeypatch.setattr(submission, "LOOK_SECONDS", 0.2)

    async def body(world):
        submitted = await submit(world.state, ["u-1", "u-2"])
        waiting = asyncio.create_task(wait_for(world.state, submitted, LONG))
        await world.someone_waits()
        await world.finish(["u-1"])
        await world.state.gate.failed("401", certain=True)
        with pytest.raises(TargetClosedError) as closed:
            await soon(waiting)
        assert set(closed.value.results) == {"u-1"}

    world(body)


def test_the_time_given_is_kept(world):
    async def body(world):
        submitted = await submit(world.state, ["u-1", "u-2"])
        await world.finish(["u-1"])
        with pytest.raises(WaitedTooLongError) as late:
            await soon(wait_for(world.state, submitted, 0.2))
        assert set(late.value.results) == {"u-1"}

    world(body)


def test_nothing_is_told_of_work_nobody_waits_for(world):
    async def body(world):
        await world.state.submit(["u-1"], Trigger.SCHEDULED)
        await world.finish(["u-1"])
        assert not await world.client.exists("scimpipe:{acme}:told")

    world(body)

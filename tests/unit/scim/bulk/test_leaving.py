"""Bulk requests over real HTTP: users who leave before they were sent, or while they are; and how requests are counted."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest

from provisioning.applying import LeaseLostError
from provisioning.errors import Throttled
from scim.errors import TooManyRequests
from scim.transport import LEASE, SENT, counted
from tests.support.bulk_target import BulkTarget, too_large
from tests.support.bulk_writes import create_all, create_leased, kinds, names, run, writes
from tests.support.fakes import HeldLease
from tests.support.scripted_target import Answer

# -- leaving, and being counted ------------------------------------------------------------------------------------------


class Turnstile:
    """A limiter whose turn comes when the test opens it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.wanted = asyncio.Event()

    @asynccontextmanager
    async def slot(self, kind):
        self.wanted.set()
        await self.open.wait()
        yield self

    def answered(self, status: int | None, retry_after_seconds: float | None = None) -> None: ...


async def known(target: Any, turnstile: Turnstile) -> None:
    """So that the only request that waits for its turn is the Bulk request."""
    turnstile.open.set()
    await target.features()
    turnstile.open.clear()
    turnstile.wanted.clear()


class Closed(Turnstile):
    """The target has asked everybody to wait for an hour."""

    closed = False

    @asynccontextmanager
    async def slot(self, kind):
        async with super().slot(kind):
            if self.closed:
                raise TooManyRequests(429, retry_after_seconds=3600.0)
            yield self


def test_everybody_is_told_how_long_the_target_has_to_be_left_alone():
    turnstile = Closed()

    async def body(target):
        await known(target, turnstile)
        turnstile.closed = True
        turnstile.open.set()
        return await create_all(target, names(5))

    results, server = run(BulkTarget(), body, limiter=turnstile)
    assert {(type(each), str(each), each.status_code, each.retry_after_seconds) for each in results} == {
        (Throttled, "the target answered 429", 429, 3600.0)
    }
    assert writes(server) == {}


@pytest.mark.parametrize("turn_first", [False, True])
def test_who_is_cancelled_while_waiting_leaves_and_nothing_of_theirs_is_sent(turn_first):
    script = BulkTarget()
    turnstile = Turnstile()

    async def body(target):
        await known(target, turnstile)
        tasks = [asyncio.create_task(target.create({"userName": name})) for name in names(6)]
        await turnstile.wanted.wait()
        if turn_first:
            turnstile.open.set()
        for task in tasks[::2]:
            task.cancel()
        turnstile.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results, _ = run(script, body, limiter=turnstile)
    assert kinds(results) == {"CancelledError": 3, "RemoteUser": 3}
    assert script.names() == names(6)[1::2]


def test_when_everybody_has_left_nothing_is_sent():
    script = BulkTarget()
    turnstile = Turnstile()

    async def body(target):
        await known(target, turnstile)
        tasks = [asyncio.create_task(target.create({"userName": name})) for name in names(3)]
        await turnstile.wanted.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        turnstile.open.set()
        return await create_all(target, names(3, "later"))

    assert kinds(run(script, body, limiter=turnstile)[0]) == {"RemoteUser": 3}
    assert script.names() == names(3, "later")


def test_who_is_cancelled_after_the_request_was_sent_hinders_nobody():
    script = BulkTarget()
    tasks: list[asyncio.Task[Any]] = []

    async def body(target):
        loop = asyncio.get_running_loop()

        def twist(entries):
            loop.call_soon_threadsafe(tasks[0].cancel)
            time.sleep(0.1)
            return entries

        script.twist = twist
        tasks.extend(asyncio.create_task(target.create({"userName": name})) for name in names(4))
        return await asyncio.gather(*tasks, return_exceptions=True)

    results, _ = run(script, body)
    assert kinds(results) == {"CancelledError": 1, "RemoteUser": 3}
    assert script.names() == names(4), "it was sent, and the link says so"


def test_a_target_that_is_closed_leaves_nobody_waiting():
    script = BulkTarget()
    turnstile = Turnstile()

    async def body(target):
        await known(target, turnstile)
        tasks = [asyncio.create_task(target.create({"userName": name})) for name in names(3)]
        await asyncio.sleep(0.05)
        await target.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert kinds(run(script, body, limiter=turnstile)[0]) == {"CancelledError": 3}
    assert script.accounts == {}


def test_a_target_that_is_closed_waits_for_no_answer():
    arrived = threading.Event()

    class Stalled(BulkTarget):
        def _bulk(self, request):
            arrived.set()
            time.sleep(1)
            return super()._bulk(request)

    async def body(target):
        tasks = [asyncio.create_task(target.create({"userName": name})) for name in names(3)]
        await asyncio.to_thread(arrived.wait, 10)
        await target.close()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 0.5)

    assert kinds(run(Stalled(), body)[0]) == {"CancelledError": 3}


@pytest.mark.parametrize("lost", [0, 1], ids=["who came first", "another"])
def test_a_lease_lost_while_waiting_for_the_turn_sends_nothing_of_that_user(lost):
    script = BulkTarget()
    turnstile = Turnstile()
    leases = [HeldLease() for _ in range(4)]

    async def body(target):
        await known(target, turnstile)
        creating = asyncio.create_task(create_leased(target, names(4), leases))
        await turnstile.wanted.wait()
        leases[lost].held = False
        turnstile.open.set()
        return await creating

    results, _ = run(script, body, limiter=turnstile)
    assert type(results[lost]) is LeaseLostError
    assert script.names() == [name for at, name in enumerate(names(4)) if at != lost]


def test_without_bulk_a_lease_lost_while_waiting_for_the_turn_sends_nothing_either():
    turnstile = Turnstile()
    lease = HeldLease()

    async def body(target):
        LEASE.set(lease)
        writing = asyncio.create_task(target.create({"userName": "anna"}))
        await turnstile.wanted.wait()
        lease.held = False
        turnstile.open.set()
        (result,) = await asyncio.gather(writing, return_exceptions=True)
        # Reading harms nobody.
        await target.probe()
        return result

    result, server = run(lambda _: Answer(200, {}), body, limiter=turnstile, bulk="off")
    assert type(result) is LeaseLostError
    assert [request.method for request in server.requests] == ["GET"]


def test_a_lease_lost_during_a_refused_request_sends_nothing_of_that_user():
    leases = [HeldLease() for _ in range(3)]

    def refuse(_):
        leases[1].held = False
        return Answer(400)

    script = BulkTarget(whole=refuse)

    results, _ = run(script, lambda target: create_leased(target, names(3), leases))
    assert type(results[1]) is LeaseLostError
    assert script.names() == ["user0000", "user0002"]


@pytest.mark.parametrize(
    "whole", [lambda _: None, too_large(5), lambda _: Answer(400)], ids=["200", "413", "400"]
)
def test_the_sum_over_users_is_what_was_sent_and_everybody_counts_as_begun(whole):
    script = BulkTarget(whole=whole)
    sent: dict[str, list[str]] = {name: [] for name in names(50)}

    async def body(target):
        async def one(name):
            SENT.set(sent[name])
            await target.create({"userName": name})

        await asyncio.gather(*map(one, sent))
        return target.requests

    requests, server = run(script, body)
    assert sum(map(counted, sent.values())) == requests == len(server.requests)
    assert all(sent.values())

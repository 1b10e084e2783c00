"""Writes that wait at the same moment, over real HTTP: how they are put together, and what becomes of each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from provisioning.applying import LeaseLostError
from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Permanent,
    Superseded,
    Throttled,
    Transient,
    Unauthorized,
)
from provisioning.model import Changes, Desired
from scim import bulk
from scim.quirks import NO_BULK, QuirksInMemory
from scim.transport import LEASE, SENT, counted
from tests.support.bulk_target import BulkTarget, payload, too_large
from tests.support.fakes import HeldLease
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, ScriptedTarget

TITLE = Changes(set={"title": "x"})
WANTED = Desired({"userName": "n", "title": "x"})


async def create_all(target: Any, names: Sequence[str]) -> list[Any]:
    """Of each its account, or the error it got."""
    return await asyncio.gather(
        *(target.create({"userName": name}) for name in names), return_exceptions=True
    )


def names(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def run(script: BulkTarget, body: Any, **known: Any) -> tuple[Any, ScriptedTarget]:
    with ScriptedTarget(script) as server:
        return with_target(server.base_url, body, **known), server


def kinds(results: Sequence[Any]) -> Counter[str]:
    return Counter(type(each).__name__ for each in results)


def writes(server: ScriptedTarget) -> Counter[tuple[str, str]]:
    return Counter((each.method, each.path) for each in server.requests if each.method != "GET")


# -- who goes together -----------------------------------------------------------------------------------------------


def test_those_who_wait_together_go_together_and_each_gets_their_own_account():
    script = BulkTarget()

    async def body(target):
        return await create_all(target, names(20))

    made, server = run(script, body)
    assert [script.accounts[each.scim_id]["userName"] for each in made] == names(20)
    assert writes(server) == {("POST", "/Bulk"): 1}


def test_a_lone_user_goes_in_a_request_of_its_own_and_asks_for_no_features():
    async def body(target):
        for name in names(3):
            await target.create({"userName": name})

    _, server = run(BulkTarget(), body)
    assert [each.path for each in server.requests] == ["/Users"] * 3


def test_every_kind_of_write_goes_along_and_a_put_reads_first():
    script = BulkTarget()

    async def body(target):
        made = await create_all(target, names(4))
        patched = target.update(made[0].scim_id, TITLE, WANTED, None)
        await asyncio.gather(patched, target.delete(made[1].scim_id), target.create({"userName": "new"}))
        return script.accounts[made[0].scim_id]["title"]

    title, server = run(script, body)
    assert title == "x"
    assert script.names() == ["new", "user0000", "user0002", "user0003"]
    assert writes(server) == {("POST", "/Bulk"): 2}
    methods = [each["method"] for each in server.asked("POST")[1].body["Operations"]]
    assert sorted(methods) == ["DELETE", "PATCH", "POST"]


def test_an_account_that_goes_by_put_is_read_first_and_written_with_the_others(monkeypatch):
    # The reads are answered one after the other.
    monkeypatch.setattr(bulk, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(bulk, "LONGEST_SECONDS", 5)
    script = BulkTarget()

    async def body(target):
        made = await create_all(target, names(3))
        await asyncio.gather(*(target.update(each.scim_id, TITLE, WANTED, None) for each in made))

    _, server = run(script, body, update_method="put")
    assert writes(server) == {("POST", "/Bulk"): 2}
    assert {each["method"] for each in server.asked("POST")[1].body["Operations"]} == {"PUT"}
    assert len(server.asked("GET")) == 4


def test_switched_off_it_is_neither_used_nor_asked_about():
    async def body(target):
        return await create_all(target, names(5))

    _, server = run(BulkTarget(), body, bulk="off")
    assert Counter(each.path for each in server.requests) == {"/Users": 5}


def test_where_it_is_not_offered_each_goes_alone():
    script = BulkTarget(config={"supported": False})

    async def body(target):
        await create_all(target, names(5))
        await create_all(target, names(5, "other"))

    _, server = run(script, body)
    assert Counter(each.path for each in server.requests) == {"/Users": 10, "/ServiceProviderConfig": 1}


def test_a_target_whose_features_cannot_be_read_is_written_to_all_the_same():
    script = BulkTarget()

    async def body(target):
        return await create_all(target, names(5))

    with ScriptedTarget(
        lambda request: (
            Answer(503, headers={"Retry-After": "1"}) if "Config" in request.path else script(request)
        )
    ) as server:
        assert kinds(with_target(server.base_url, body)) == {"RemoteUser": 5}
        assert script.sizes == []


# -- how many --------------------------------------------------------------------------------------------------------


def test_the_first_requests_are_small_and_they_grow_to_what_the_target_announces():
    script = BulkTarget(config={"maxOperations": 70})

    async def body(target):
        for number in range(6):
            await create_all(target, names(100, f"round{number}-"))

    run(script, body)
    assert script.sizes[0] == 20
    assert max(script.sizes) == 70
    assert len(script.accounts) == 600


def test_no_request_is_larger_than_announced_and_who_does_not_fit_goes_alone():
    script = BulkTarget(config={"maxPayloadSize": 2000})

    async def body(target):
        return await create_all(target, [*names(60), "x" * 3000])

    made, server = run(script, body)
    assert kinds(made) == {"RemoteUser": 61}
    sizes = [payload(each) for each in server.requests if each.path == "/Bulk"]
    assert max(sizes) <= 2000
    assert min(sizes[:-1]) > 1500
    assert writes(server)["POST", "/Users"] == 1


@pytest.mark.parametrize("most", [0, None, "many", -5])
def test_a_senseless_limit_is_none(most):
    script = BulkTarget(config={"maxOperations": most, "maxPayloadSize": most})

    async def body(target):
        return await create_all(target, names(20))

    assert kinds(run(script, body)[0]) == {"RemoteUser": 20}
    assert script.sizes == [20]


def test_413_halves_the_request_nothing_is_lost_and_it_is_remembered():
    quirks = QuirksInMemory()
    people = names(20, "u" * 100)
    first = BulkTarget(whole=too_large(6))

    async def body(target):
        return await create_all(target, people)

    made, _ = run(first, body, quirks=quirks)
    assert kinds(made) == {"RemoteUser": 20}
    assert first.names() == people
    assert first.sizes[0] == 20
    assert all(size <= 10 for size in first.sizes[1:]), first.sizes
    assert min(first.sizes) > 1
    again = BulkTarget(whole=too_large(6))
    assert kinds(run(again, body, quirks=quirks)[0]) == {"RemoteUser": 20}
    assert max(again.sizes) <= 6


def test_a_target_that_refuses_any_size_is_written_to_without_bulk():
    quirks = QuirksInMemory()
    script = BulkTarget(whole=too_large(0))

    async def body(target):
        first = await create_all(target, names(20))
        return first + await create_all(target, names(20, "more"))

    assert kinds(run(script, body, quirks=quirks)[0]) == {"RemoteUser": 40}
    assert len(script.accounts) == 40


def test_an_answer_that_takes_long_makes_the_next_request_smaller():
    class Slow(BulkTarget):
        def _bulk(self, request):
            time.sleep(0.05 * len(request.body["Operations"]))
            return super()._bulk(request)

    script = Slow()

    async def body(target):
        await create_all(target, names(20))
        await create_all(target, names(20, "more"))

    # A good answer takes up to 0.5 s, this one took a second.
    run(script, body, timeout_seconds=3)
    assert script.sizes[0] == 20
    assert max(script.sizes[1:]) <= 10


# -- what becomes of each --------------------------------------------------------------------------------------------


def test_each_failure_is_the_one_a_request_of_its_own_would_have_had():
    statuses = {"a": 409, "b": 400, "c": 403, "d": 429, "e": 500, "f": 503, "g": 401, "h": 413}
    script = BulkTarget(refuse=statuses)

    async def body(target):
        return await create_all(target, [*statuses, "z"])

    results, _ = run(script, body)
    assert [type(each) for each in results[:-1]] == [
        Conflict, Permanent, Permanent, Throttled, AmbiguousWrite, AmbiguousWrite, Unauthorized, Permanent,
    ]  # fmt: skip
    assert results[-1].scim_id in script.accounts
    assert len(script.sizes) == 1


def test_a_failed_update_tells_what_it_would_have_told_alone():
    script = BulkTarget()

    def outdated(entries):
        return [
            {**entry, "status": "412"} if entry["location"].endswith("id-2") else entry for entry in entries
        ]

    async def body(target):
        await create_all(target, names(3))
        script.twist = outdated
        ids = ("id-1", "id-2", "gone")
        return await asyncio.gather(
            *(target.update(each, TITLE, WANTED, 'W/"1"') for each in ids), return_exceptions=True
        )

    results, server = run(script, body)
    assert [type(each) for each in results] == [type(None), Superseded, Missing]
    assert [each.get("version") for each in server.asked("POST")[-1].body["Operations"]] == ['W/"1"'] * 3


def test_deleting_what_is_gone_is_success_and_whoever_is_not_sure_is_asked():
    script = BulkTarget()

    async def body(target):
        await create_all(target, names(3))
        script.twist = lambda entries: [
            {**entry, "status": entry["status"].replace("204", "200")} for entry in entries
        ]
        await asyncio.gather(*(target.delete(each) for each in ("id-1", "gone", "gone-too")))

    _, server = run(script, body)
    assert [each.path for each in server.asked("GET")] == ["/ServiceProviderConfig", "/Users/id-1"]


@pytest.mark.parametrize("twist", ["half", "reversed", "numbers", "objects", "nobody", "twice"])
def test_answers_in_many_forms(twist):
    forms = {
        "half": lambda entries: entries[: len(entries) // 2],
        "reversed": lambda entries: entries[::-1],
        "numbers": lambda entries: [{**each, "status": int(each["status"])} for each in entries],
        "objects": lambda entries: [{**each, "status": {"code": each["status"]}} for each in entries],
        "nobody": lambda entries: [],
        "twice": lambda entries: [*entries, *entries[:5]],
    }
    script = BulkTarget(twist=forms[twist])

    async def body(target):
        return await create_all(target, names(20))

    results, _ = run(script, body)
    lost = {"half": range(10, 20), "nobody": range(20), "twice": range(5)}.get(twist, range(0))
    for number, result in enumerate(results):
        if number in lost:
            assert type(result) is AmbiguousWrite
        else:
            assert script.accounts[result.scim_id]["userName"] == names(20)[number]


@pytest.mark.parametrize(
    ("whole", "create", "update"),
    [
        (Answer(500), AmbiguousWrite, Transient),
        (Answer(502, "<html>"), AmbiguousWrite, Transient),
        (Answer(silent=True), AmbiguousWrite, Transient),
        (Answer(200, {"Operations": []}, cut=5), AmbiguousWrite, Transient),
        (Answer(200, "<html>"), AmbiguousWrite, Transient),
        (Answer(202), AmbiguousWrite, Transient),
        (Answer(409), AmbiguousWrite, Transient),
        (Answer(302, headers={"Location": "/elsewhere"}), AmbiguousWrite, Transient),
        (Answer(401), Unauthorized, Unauthorized),
        (Answer(429), Throttled, Throttled),
        (Answer(503, headers={"Retry-After": "7"}), Throttled, Throttled),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.body}",
)
def test_what_is_said_of_the_whole_request_concerns_each_and_nothing_is_sent_again(whole, create, update):
    script = BulkTarget(whole=lambda _: whole)

    async def body(target):
        created = await create_all(target, names(10))
        updated = await asyncio.gather(
            *(target.update(str(n), TITLE, WANTED, None) for n in range(3)), return_exceptions=True
        )
        return {type(each) for each in created}, {type(each) for each in updated}

    (created, updated), server = run(script, body)
    assert (created, updated) == ({create}, {update})
    assert writes(server) == {("POST", "/Bulk"): 2}


def test_a_timeout_leaves_each_in_doubt():
    class Stalled(BulkTarget):
        def _bulk(self, request):
            time.sleep(1)
            return super()._bulk(request)

    async def body(target):
        return await create_all(target, names(5))

    assert kinds(run(Stalled(), body, timeout_seconds=0.3)[0]) == {"AmbiguousWrite": 5}


def test_a_target_that_is_down_concerns_everybody():
    async def body(target):
        return await create_all(target, names(5))

    assert kinds(with_target("http://127.0.0.1:9", body)) == {"Outage": 5}


# -- a target without Bulk after all -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_endpoint_that_is_announced_and_not_there_is_remembered(status):
    quirks = QuirksInMemory()
    script = BulkTarget(whole=lambda _: Answer(status))

    async def body(target):
        first = await create_all(target, names(5))
        return first + await create_all(target, names(5, "more")), await quirks.items()

    (made, learned), _ = run(script, body, quirks=quirks)
    assert kinds(made) == {"RemoteUser": 10}
    assert (script.sizes, learned) == ([5], {NO_BULK})


@pytest.mark.parametrize("status", [400, 403, 415])
def test_users_of_a_refused_request_go_alone_and_after_a_few_so_does_everybody(status):
    quirks = QuirksInMemory()
    script = BulkTarget(whole=lambda _: Answer(status))

    async def body(target):
        for number in range(8):
            assert kinds(await create_all(target, names(3, f"{number}-"))) == {"RemoteUser": 3}
        return await quirks.items()

    learned, _ = run(script, body, quirks=quirks)
    assert (script.sizes, learned) == ([3] * 5, {NO_BULK})
    assert len(script.accounts) == 24


def test_a_refusal_now_and_then_is_no_reason_to_stop():
    turns = iter(range(1000))
    script = BulkTarget(whole=lambda _: Answer(400) if next(turns) % 4 else None)

    async def body(target):
        for number in range(12):
            await create_all(target, names(3, f"{number}-"))

    run(script, body)
    assert script.sizes == [3] * 12
    assert len(script.accounts) == 36


def test_answers_that_say_nothing_of_anybody_are_a_reason_to_stop():
    script = BulkTarget(twist=lambda entries: Answer(200, {}))

    async def body(target):
        for number in range(7):
            await create_all(target, names(3, f"{number}-"))

    run(script, body)
    assert script.sizes == [3] * 5


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


def test_a_lease_lost_while_waiting_for_the_turn_sends_nothing_of_that_user():
    script = BulkTarget()
    turnstile = Turnstile()
    leases = [HeldLease() for _ in range(4)]

    async def body(target):
        async def one(name, lease):
            LEASE.set(lease)
            return await target.create({"userName": name})

        await known(target, turnstile)
        tasks = [asyncio.create_task(one(*each)) for each in zip(names(4), leases, strict=True)]
        await turnstile.wanted.wait()
        leases[1].held = False
        turnstile.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results, _ = run(script, body, limiter=turnstile)
    assert type(results[1]) is LeaseLostError
    assert script.names() == ["user0000", "user0002", "user0003"]


def test_a_lease_lost_during_a_refused_request_sends_nothing_of_that_user():
    leases = [HeldLease() for _ in range(3)]

    def refuse(_):
        leases[1].held = False
        return Answer(400)

    script = BulkTarget(whole=refuse)

    async def body(target):
        async def one(name, lease):
            LEASE.set(lease)
            return await target.create({"userName": name})

        return await asyncio.gather(
            *(one(*each) for each in zip(names(3), leases, strict=True)), return_exceptions=True
        )

    results, _ = run(script, body)
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

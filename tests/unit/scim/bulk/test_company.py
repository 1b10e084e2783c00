"""Writes that wait at the same moment, over real HTTP: who goes together, and how many."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

import pytest

from scim import bulk
from scim.quirks import QuirksInMemory
from tests.support.bulk_target import BulkTarget, payload, too_large
from tests.support.bulk_writes import TITLE, WANTED, create_all, kinds, names, run, writes
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, ScriptedTarget

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


def test_a_bulk_endpoint_that_always_fails_is_left_alone_for_a_while():
    """Single writes may work: else everybody in a load fails, again and again, and ends as a dead letter."""
    script = BulkTarget(whole=lambda _: Answer(500))

    async def body(target):
        for attempt in range(5):
            await create_all(target, names(20, f"lost{attempt}"))
        before = len(script.sizes)
        return before, await create_all(target, names(20))

    (before, made), _ = run(script, body)
    assert kinds(made) == {"RemoteUser": 20}
    assert len(script.sizes) == before


@pytest.mark.parametrize("status", [408, 425, 503])
def test_a_bulk_endpoint_that_is_never_ready_is_left_alone_for_a_while(status):
    """A proxy that lets through so many requests a second, and none as large."""
    script = BulkTarget(whole=lambda _: Answer(status))

    async def body(target):
        for attempt in range(6):
            await create_all(target, names(20, f"lost{attempt}"))
        return len(script.sizes), await create_all(target, names(20))

    (before, made), _ = run(script, body)
    assert kinds(made) == {"RemoteUser": 20}
    assert len(script.sizes) == before == 5


def test_a_bulk_endpoint_that_is_busy_now_and_then_is_used_all_the_same():
    answers = itertools.cycle([Answer(503), Answer(503), None])
    script = BulkTarget(whole=lambda _: next(answers))

    async def body(target):
        for attempt in range(12):
            await create_all(target, names(20, f"user{attempt}"))

    run(script, body)
    assert len(script.sizes) == 12


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

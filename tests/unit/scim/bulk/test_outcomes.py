"""Bulk requests over real HTTP: what becomes of each user, and of a target that has no Bulk after all."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Permanent,
    ProvisioningError,
    Superseded,
    Throttled,
    Unauthorized,
)
from scim.quirks import NO_BULK, QuirksInMemory
from scim.transport import SENT, SHARED
from tests.support.bulk_target import BulkTarget
from tests.support.bulk_writes import TITLE, WANTED, create_all, kinds, names, run, writes
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer

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
    # And whether 404 means anything here.
    read = {each.path for each in server.asked("GET")}
    assert read == {"/ServiceProviderConfig", "/Users", "/Users/id-1", "/Users/gone", "/Users/gone-too"}


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
    ("whole", "expected"),
    [
        (Answer(500), AmbiguousWrite),
        (Answer(502, "<html>"), AmbiguousWrite),
        (Answer(silent=True), AmbiguousWrite),
        (Answer(200, {"Operations": []}, cut=5), AmbiguousWrite),
        (Answer(200, "<html>"), AmbiguousWrite),
        (Answer(202), AmbiguousWrite),
        (Answer(409), AmbiguousWrite),
        (Answer(302, headers={"Location": "/elsewhere"}), AmbiguousWrite),
        (Answer(401), Unauthorized),
        (Answer(429), Throttled),
        (Answer(503, headers={"Retry-After": "7"}), Throttled),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.body}",
)
def test_what_is_said_of_the_whole_request_concerns_each_and_nothing_is_sent_again(whole, expected):
    script = BulkTarget(whole=lambda _: whole)

    async def body(target):
        created = await create_all(target, names(10))
        updated = await asyncio.gather(
            *(target.update(str(n), TITLE, WANTED, None) for n in range(3)), return_exceptions=True
        )
        return {type(each) for each in created}, {type(each) for each in updated}

    (created, updated), server = run(script, body)
    assert (created, updated) == ({expected}, {expected})
    assert writes(server) == {("POST", "/Bulk"): 2}


@pytest.mark.parametrize(
    ("script", "told"),
    [(BulkTarget(refuse=dict.fromkeys(names(20), 500)), 20), (BulkTarget(whole=lambda _: Answer(500)), 1)],
    ids=["of each", "of the request"],
)
def test_it_is_known_of_whom_a_failure_was_told(script, told):
    """Twenty failures close a target; one that twenty users share is one."""
    sent: dict[str, list[str]] = {name: [] for name in names(20)}

    async def body(target):
        async def one(name):
            SENT.set(sent[name])
            with suppress(ProvisioningError):
                await target.create({"userName": name})

        await asyncio.gather(*map(one, sent))

    run(script, body)
    assert sum(each[-1] != SHARED for each in sent.values()) == told


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


@pytest.mark.parametrize(("status", "sent"), [(400, 5), (403, 5), (415, 10)])
def test_users_of_a_refused_request_go_alone_and_after_a_few_so_does_everybody(status, sent):
    """After 415 each is sent once more, as another media type."""
    quirks = QuirksInMemory()
    script = BulkTarget(whole=lambda _: Answer(status))

    async def body(target):
        for number in range(8):
            assert kinds(await create_all(target, names(3, f"{number}-"))) == {"RemoteUser": 3}
        return await quirks.items()

    learned, _ = run(script, body, quirks=quirks)
    assert (script.sizes, learned) == ([3] * sent, {NO_BULK})
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

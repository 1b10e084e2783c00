"""Which look-ups the target's own listing and schema make needless; and that a doubtful word of either makes none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from provisioning.mapping import new_resource
from provisioning.model import Desired
from scim import look_ups
from scim.target import ScimTarget
from tests.support.opened_target import with_target
from tests.support.scim_server import scim_server
from tests.support.scripted_target import Answer, Request, ScriptedTarget

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"


def listed(*resources: dict[str, Any], total: int | None = None) -> Answer:
    return Answer(
        200, {"totalResults": len(resources) if total is None else total, "Resources": list(resources)}
    )


def schemas(uniqueness: str) -> Answer:
    attributes = [
        {"name": "userName", "type": "string", "uniqueness": uniqueness},
        {"name": "displayName", "type": "string", "uniqueness": "none"},
    ]
    return listed({"id": CORE, "attributes": attributes})


def scripted(
    *accounts: dict[str, Any],
    uniqueness: str = "server",
    page: Callable[[Request], Answer | None] = lambda request: None,
) -> Callable[[Request], Answer]:
    """A target with these accounts. page: answers a listing otherwise."""

    def answer(request: Request) -> Answer:
        if request.path == "/Schemas":
            return schemas(uniqueness)
        if request.path == "/Users":
            start = int(request.query.get("startIndex", 1))
            return page(request) or listed(*accounts[start - 1 :], total=len(accounts))
        found = [each for each in accounts if request.path == f"/Users/{each['id']}"]
        return Answer(200, found[0]) if found else Answer(404)

    return answer


def needs(
    answer: Callable[[Request], Answer],
    *asked: tuple[str, str],
    creating: bool = True,
    unlinked: int = 100,
    forget: bool = False,
) -> tuple[list[bool], ScriptedTarget]:
    async def body(target: ScimTarget) -> list[bool]:
        await target.look_ups.take_census(unlinked)
        if forget:
            target.look_ups.forget()
        return [await target.needs_look_up(*each, creating=creating) for each in asked]

    with ScriptedTarget(answer) as server:
        return with_target(server.base_url, body), server


ANN = {"id": "1", "userName": "Ann", "externalId": "ext-1"}
BOB = {"id": "2", "userName": "bob", "externalId": "ext-2"}


def test_who_is_not_in_the_listing_need_not_be_looked_for():
    found, server = needs(
        scripted(ANN, BOB),
        *[("externalId", "ext-1"), ("externalId", "ext-3"), ("userName", "zoe"), ("userName", "ann")],
    )
    # Who is in it is looked for, though the target would refuse a second one: finding costs less than being refused.
    assert found == [True, False, False, True]
    listings = [request for request in server.requests if request.path == "/Users"]
    assert listings[0].query["attributes"] == "id,userName,externalId"
    assert listings[0].query["count"] == "1000"


def test_a_leaver_is_looked_for_where_the_listing_may_have_him_in_any_case():
    found, _ = needs(scripted(ANN), ("externalId", "EXT-1"), ("externalId", "ext-9"), creating=False)
    assert found == [True, False]


def test_without_a_listing_only_what_the_target_keeps_unique_needs_no_look_up():
    found, _ = needs(scripted(ANN), ("userName", "ann"), ("externalId", "ext-9"), unlinked=0, forget=True)
    assert found == [False, True]
    found, _ = needs(scripted(ANN), ("userName", "ann"), unlinked=0, forget=True, creating=False)
    assert found == [True]


def test_a_target_that_does_not_say_that_names_are_unique_is_asked_about_everybody():
    found, server = needs(scripted(ANN, uniqueness="none"), ("externalId", "ext-9"), ("userName", "zoe"))
    assert found == [True, True]
    assert not [request for request in server.requests if request.path == "/Users"]


def test_an_attribute_the_listing_keeps_back_is_not_believed_to_be_absent():
    def page(request: Request) -> Answer | None:
        return listed({"id": "1", "userName": "Ann"})

    found, _ = needs(scripted(ANN, page=page), ("externalId", "ext-9"), ("userName", "zoe"))
    assert found == [True, False]


def test_accounts_that_truly_have_no_external_id_are_no_reason_to_doubt():
    found, _ = needs(scripted({"id": "1", "userName": "admin"}, BOB), ("externalId", "ext-9"))
    assert found == [False]


@pytest.mark.parametrize(
    "page",
    [
        lambda request: listed(ANN, total=2),
        lambda request: listed(*[ANN, BOB][: int(request.query["count"])]),
        lambda request: Answer(404),
        lambda request: Answer(500),
        lambda request: Answer(200, "<html>"),
        lambda request: Answer(200, ""),
    ],
    ids=["not whole", "whatever startIndex says", "404 of a proxy", "500", "html", "empty"],
)
def test_a_listing_that_is_not_whole_proves_nothing(page):
    found, _ = needs(scripted(ANN, BOB, page=page), ("externalId", "ext-9"))
    assert found == [True]


def test_a_listing_longer_than_the_look_ups_is_not_read():
    def page(request: Request) -> Answer | None:
        return listed(ANN, BOB, total=100_001)

    found, server = needs(scripted(page=page), ("externalId", "ext-9"), unlinked=100)
    assert found == [True]
    assert len([request for request in server.requests if request.path == "/Users"]) == 1


@pytest.mark.parametrize("whole_only", [False, True])
def test_what_a_listing_costs_is_reckoned_by_the_pages_its_target_can_answer(whole_only):
    """A gateway that gives up on more than fifty at a time; or only where whole accounts are asked for."""
    everybody = [{"id": str(number), "userName": f"u{number}"} for number in range(200)]

    def page(request: Request) -> Answer | None:
        start, count = int(request.query["startIndex"]) - 1, int(request.query["count"])
        if count > 50 and not (whole_only and "attributes" in request.query):
            return Answer(504)
        return listed(*everybody[start : start + count], total=len(everybody))

    async def body(target: ScimTarget) -> bool:
        assert len([account async for some in target.listing() for account in some]) == len(everybody)
        server.requests.clear()
        await target.look_ups.take_census(2)
        return await target.needs_look_up("externalId", "nobody", creating=True)

    with ScriptedTarget(scripted(page=page)) as server:
        assert with_target(server.base_url, body) != whole_only
        pages = [request for request in server.requests if request.path == "/Users"]
        assert len(pages) <= 4


def test_a_target_that_refuses_to_leave_attributes_out_shows_them_all():
    def page(request: Request) -> Answer | None:
        return Answer(400) if "attributes" in request.query else None

    found, _ = needs(scripted(ANN, page=page), ("externalId", "ext-1"), ("externalId", "ext-9"))
    assert found == [True, False]


class SlowListing:
    """page: of `scripted`; the listing is answered once it may go on."""

    def __init__(self) -> None:
        self._asked_for, self._go_on = threading.Event(), threading.Event()

    def page(self, request: Request) -> Answer | None:
        self._asked_for.set()
        assert self._go_on.wait(30)
        return None

    async def asked_for(self) -> None:
        assert await asyncio.to_thread(self._asked_for.wait, 30)

    def go_on(self) -> None:
        self._go_on.set()


def test_whoever_comes_while_the_listing_is_read_waits_for_it():
    slow = SlowListing()

    async def body(target: ScimTarget) -> list[bool]:
        first = asyncio.create_task(target.look_ups.take_census(100))
        await slow.asked_for()
        while_reading = target.look_ups.lack_census
        second = asyncio.create_task(target.look_ups.take_census(100))
        await asyncio.sleep(0.05)
        came_back = second.done()
        slow.go_on()
        await asyncio.gather(first, second)
        return [while_reading, came_back, target.look_ups.lack_census]

    with ScriptedTarget(scripted(ANN, BOB, page=slow.page)) as server:
        assert with_target(server.base_url, body) == [True, False, False]
    pages = [request.query["startIndex"] for request in server.requests if request.path == "/Users"]
    assert pages == ["1", "3"]


def test_a_long_listing_does_not_hold_up_everybody(monkeypatch):
    monkeypatch.setattr(look_ups, "PATIENCE_SECONDS", 0.2)
    slow = SlowListing()

    async def body(target: ScimTarget) -> list[bool]:
        reading = asyncio.create_task(target.look_ups.take_census(100))
        await slow.asked_for()
        await target.look_ups.take_census(100)
        came_back, lack = not reading.done(), target.look_ups.lack_census
        slow.go_on()
        await reading
        return [came_back, lack, await target.needs_look_up("externalId", "ext-9", creating=True)]

    with ScriptedTarget(scripted(ANN, page=slow.page)) as server:
        assert with_target(server.base_url, body) == [True, False, False]


def test_a_listing_is_not_believed_when_redis_was_emptied_while_it_was_read():
    slow = SlowListing()

    async def body(target: ScimTarget) -> list[bool]:
        reading = asyncio.create_task(target.look_ups.take_census(100))
        await slow.asked_for()
        target.look_ups.forget()
        slow.go_on()
        await reading
        return [await target.needs_look_up("externalId", "ext-9", creating=True), target.look_ups.lack_census]

    with ScriptedTarget(scripted(ANN, page=slow.page)) as server:
        assert with_target(server.base_url, body) == [True, True]


def test_it_is_forgotten_with_redis():
    found, _ = needs(scripted(ANN), ("externalId", "ext-9"), forget=True)
    assert found == [True]


@pytest.mark.parametrize("manner", [{}, {"cursor": True, "max_results": 3}, {"max_results": 3}], ids=str)
def test_a_real_server(manner):
    people = [Desired({"userName": f"user{n}", "externalId": f"ext-{n}"}) for n in range(8)]

    async def body(target: ScimTarget) -> list[bool]:
        for each in people:
            await target.create(new_resource(each))
        await target.look_ups.take_census(100)
        return [await target.needs_look_up("externalId", f"ext-{n}", creating=True) for n in range(10)]

    with scim_server(**manner) as server:
        assert with_target(server.base_url, body, token=server.token) == [True] * 8 + [False] * 2


def test_a_listing_that_takes_too_long_is_given_up_and_not_begun_again_at_once():
    """Its reader's users would wait for hours, for what is not believed any more when it has been read."""
    asked: list[str] = []

    def slow(request: Request) -> Answer | None:
        asked.append(request.query["startIndex"])
        time.sleep(0.2)
        number = request.query["startIndex"]
        return listed({"id": number, "userName": f"u{number}"}, total=1000)

    async def body(target: ScimTarget) -> bool:
        target.look_ups.longest_seconds = 0.5
        await target.look_ups.take_census(1000)
        assert len(asked) <= 4
        return target.look_ups.lack_census

    with ScriptedTarget(scripted(page=slow)) as server:
        assert not with_target(server.base_url, body)

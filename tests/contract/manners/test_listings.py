"""DESIGN 5.3: Listings that are capped, wrong about their total, or stop short; over real HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from provisioning.errors import (
    Transient,
)
from scim.transport import LARGEST_BODY
from tests.support.manners import ACCOUNTS, collect, listing, no_discovery, page
from tests.support.scripted_target import Answer, Request


async def collect_or_incomplete(target: Any) -> Any:
    try:
        return await collect(target)
    except Transient:
        return "incomplete"


@pytest.mark.parametrize("total", [None, 3, 0], ids=["right", "too small", "none"])
def test_a_listing_with_a_capped_count_and_a_wrong_total_is_whole(use, total):
    ids, _ = use(no_discovery(lambda request: page(request, ACCOUNTS, 7, total)), collect)
    assert sorted(ids, key=int) == [account["id"] for account in ACCOUNTS]


def test_a_repeated_account_comes_once(use):
    ids, _ = use(
        no_discovery(lambda request: page(request, [*ACCOUNTS[:10], *ACCOUNTS[5:]], 10)),
        collect_or_incomplete,
    )
    assert ids == "incomplete" or len(ids) == len(set(ids))


def test_a_listing_that_stops_short_is_no_listing(use):
    async def body(target):
        with pytest.raises(Transient, match="listed"):
            await collect(target)

    use(no_discovery(lambda request: page(request, ACCOUNTS[:20], 10, 25)), body)


@pytest.mark.parametrize("users", [25, 3])
def test_who_ignores_start_index_may_have_more_than_it_shows(use, users):
    """As AWS without cursors: the length of the page for totalResults."""

    def answer(request: Request) -> Answer:
        count = min(int(request.query["count"]), 10)
        return listing(*ACCOUNTS[:users][:count])

    async def body(target):
        with pytest.raises(Transient, match="startIndex"):
            await collect(target)
        # For people whoever is shown is there; of nobody else anything is known.
        assert [account.scim_id for account in await target.search("", 5)] == ["1", "2", "3", "4", "5"][
            :users
        ]
        with pytest.raises(Transient, match="startIndex"):
            await target.search("zoe")

    use(no_discovery(answer), body)


def test_who_shows_the_last_one_beyond_the_end_has_shown_all(use):
    def answer(request: Request) -> Answer:
        within = {**request.query, "startIndex": str(min(int(request.query["startIndex"]), len(ACCOUNTS)))}
        return page(replace(request, query=within), ACCOUNTS, 10)

    ids, _ = use(no_discovery(answer), collect)
    assert len(ids) == len(ACCOUNTS)


def test_a_listing_that_fails_in_the_middle_is_no_listing(use):
    def answer(request):
        return Answer(500) if request.query.get("startIndex") == "11" else page(request, ACCOUNTS, 10)

    async def body(target):
        with pytest.raises(Transient):
            await collect(target)

    use(no_discovery(answer), body)


@pytest.mark.parametrize("cursor", ["nextCursor", "NextCursor"])
def test_cursor_paging(use, cursor):
    """Names are the same in any case, and totalResults may be left out (RFC 9865 2): the rest was taken not to be there."""

    def answer(request):
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"pagination": {"cursor": True}})
        at = int(request.query.get("cursor") or 0)
        body = {"Resources": ACCOUNTS[at : at + 10]}
        return Answer(body={**body, cursor: str(at + 10)} if at + 10 < 25 else body)

    ids, _ = use(answer, collect)
    assert ids == [account["id"] for account in ACCOUNTS]


@pytest.mark.parametrize("status", [400, 422])
def test_who_refuses_large_pages_is_asked_for_smaller_ones(use, status):
    """LiteLLM said 422 to more than 100, and announced no limit: nobody could be found in its listing."""
    many = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 251)]

    def answer(request: Request) -> Answer:
        return Answer(status) if int(request.query["count"]) > 100 else page(request, many, 100)

    ids, server = use(no_discovery(answer), collect)
    assert len(ids) == 250
    assert [request.query["count"] for request in server.requests if "count" in request.query] == [
        "200", "100", "100", "100", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "failure",
    [Answer(body={}, cut=1), Answer(504), Answer(500), Answer(body="x" * (LARGEST_BODY + 1))],
    ids=["no answer", "proxy gave up", "server gave up", "too large"],
)
def test_who_cannot_answer_a_large_page_is_asked_for_smaller_ones_for_a_while(use, failure):
    """Else nobody who is looked for in the listing would ever be found, however often it is tried."""
    many = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 81)]

    def answer(request: Request) -> Answer:
        return failure if int(request.query["count"]) > 50 else page(request, many, 100)

    async def twice(target: Any) -> list[str]:
        assert await collect(target) == await collect(target)
        return await collect(target)

    ids, server = use(no_discovery(answer), twice)
    assert len(ids) == 80
    counts = [request.query["count"] for request in server.requests if "count" in request.query]
    assert counts == ["200", *["50", "50", "1"] * 3]


def test_who_read_at_the_same_time_do_not_make_each_others_pages_the_smallest(use):
    many = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 81)]

    def answer(request: Request) -> Answer:
        return Answer(504) if int(request.query["count"]) > 60 else page(request, many, 100)

    async def eight(target: Any) -> list[list[str]]:
        return await asyncio.gather(*(collect(target) for _ in range(8)))

    listed, server = use(no_discovery(answer), eight)
    assert [len(each) for each in listed] == [80] * 8
    assert {request.query["count"] for request in server.requests if "count" in request.query} == {
        "200", "50", "1",
    }  # fmt: skip


def test_who_answers_no_page_is_not_asked_for_ever(use):
    async def body(target: Any) -> None:
        with pytest.raises(Transient):
            await collect(target)

    _, server = use(no_discovery(lambda _: Answer(504)), body)
    assert [request.query["count"] for request in server.requests if "count" in request.query] == [
        "200", "50", "20",
    ]  # fmt: skip

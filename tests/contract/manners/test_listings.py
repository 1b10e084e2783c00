"""DESIGN 5.3: Listings that are capped, wrong about their total, or stop short; over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.errors import (
    Transient,
)
from tests.support.manners import ACCOUNTS, collect, no_discovery, page
from tests.support.scripted_target import Answer


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


def test_a_listing_that_fails_in_the_middle_is_no_listing(use):
    def answer(request):
        return Answer(500) if request.query.get("startIndex") == "11" else page(request, ACCOUNTS, 10)

    async def body(target):
        with pytest.raises(Transient):
            await collect(target)

    use(no_discovery(answer), body)


def test_cursor_paging(use):
    def answer(request):
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"pagination": {"cursor": True}})
        at = int(request.query.get("cursor") or 0)
        body = {"totalResults": 25, "Resources": ACCOUNTS[at : at + 10]}
        return Answer(body={**body, "nextCursor": str(at + 10)} if at + 10 < 25 else body)

    ids, _ = use(answer, collect)
    assert ids == [account["id"] for account in ACCOUNTS]

"""DESIGN 5.3: Filters that are not to be trusted, and what no match looks like; over real HTTP."""

from __future__ import annotations

import asyncio

import pytest

from provisioning.errors import Outage
from scim.quirks import QuirksInMemory
from tests.support.manners import ACCOUNTS, ANNA, collect, listing, no_discovery, page
from tests.support.scripted_target import Answer

ERROR = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404"}


def test_filters_are_escaped_and_ids_too(use):
    def answer(request):
        return listing() if request.path == "/Users" else Answer(body=ANNA)

    async def body(target):
        await target.find("userName", 'o"brien\\ & é')
        await target.get("a/1 ?ü")

    _, server = use(no_discovery(answer), body)
    assert server.requests[0].query["filter"] == 'userName eq "o\\"brien\\\\ & é"'
    assert server.requests[-1].path == "/Users/a%2F1%20%3F%C3%BC"


@pytest.mark.parametrize(
    ("answer", "requests"),
    [(Answer(404), 4), (Answer(404, ERROR), 3), (Answer(body={"totalResults": 0}), 2), (listing(), 2)],
    ids=["404", "404 of SCIM", "no list", "empty"],
)
def test_no_match_has_many_forms(use, answer, requests):
    async def body(target):
        return [await target.find("externalId", "x-1") for _ in range(2)]

    found, server = use(
        no_discovery(lambda request: answer if "filter" in request.query else listing()), body
    )
    assert found == [[], []]
    # 404 in others' words may be a proxy's; in SCIM's, it may be of everything, until there was another answer.
    assert len(server.requests) == requests


@pytest.mark.parametrize(
    "ask", [lambda target: target.find("externalId", "x-1"), lambda target: target.search("x-1")]
)
@pytest.mark.parametrize("said", ["404 page not found", ERROR], ids=["of a proxy", "of SCIM"])
def test_404_to_everything_is_no_answer_to_a_search(use, said, ask):
    """Nor is it nobody's account: whoever has left would be taken to have none, for good."""

    async def body(target):
        with pytest.raises(Outage):
            await ask(target)

    use(lambda _: Answer(404, said), body)


@pytest.mark.parametrize("scim_id", ["a\tb", "half \ud800", "x" * 2001, "..", True, {}, None], ids=repr)
def test_an_account_whose_id_could_not_be_kept_or_asked_for_is_none(use, scim_id):
    async def body(target):
        return await target.find("externalId", "x-1")

    assert use(no_discovery(lambda _: listing({**ANNA, "id": scim_id})), body)[0] == []


@pytest.mark.parametrize("how", ["ignores", "rejects"])
def test_a_filter_that_cannot_be_believed_is_replaced_by_the_listing_and_remembered(use, how):
    others = [{"id": str(number), "userName": f"user{number}"} for number in range(30)]

    def answer(request):
        if "filter" in request.query:
            return Answer(400, {"scimType": "invalidFilter"}) if how == "rejects" else listing(*others[:10])
        start = int(request.query.get("startIndex", 1))
        everybody = [*others, ANNA]
        return listing(*everybody[start - 1 : start + 19], total=31)

    async def body(target):
        first = await target.find("externalId", "x-1")
        second = await target.find("externalId", "nobody")
        return [account.scim_id for account in first], second

    quirks = QuirksInMemory()
    (found, none), server = use(no_discovery(answer), body, quirks=quirks)
    assert found == [ANNA["id"]]
    assert none == []
    assert asyncio.run(quirks.items()) == {"unfiltered:externalId"}
    # The second one asked whether it was the value.
    assert len([request for request in server.requests if "filter" in request.query]) == 2


@pytest.mark.parametrize("status", [400, 414, 422])
def test_one_value_that_a_target_refuses_is_not_held_against_its_filters(use, status):
    """Else every look-up would read the listing, for ever; and who cannot be listed whole gets no new user any more."""
    long, bert = {**ANNA, "userName": "a" * 150}, {"id": "b", "userName": "bert"}

    def answer(request):
        asked = request.query.get("filter", "")
        if len(asked) > 140:
            return Answer(status)
        return listing(bert) if "bert" in asked else listing(long, bert) if not asked else listing()

    async def body(target):
        return [
            account.scim_id for name in ("a" * 150, "bert") for account in await target.find("userName", name)
        ]

    quirks = QuirksInMemory()
    found, server = use(no_discovery(answer), body, quirks=quirks)
    assert found == [ANNA["id"], "b"]
    assert asyncio.run(quirks.items()) == frozenset()
    assert "bert" in server.requests[-1].query["filter"]


def test_whoever_has_two_addresses_of_a_type_is_found_by_the_second(use):
    """Not finding them would make a second account."""
    emails = [{"type": "work", "value": "old@example.test"}, {"type": "work", "value": "anna@example.test"}]

    async def body(target):
        return await target.find('emails[type eq "work"].value', "Anna@example.test")

    quirks = QuirksInMemory()
    found, _ = use(no_discovery(lambda _: listing({**ANNA, "emails": emails})), body, quirks=quirks)
    assert [account.scim_id for account in found] == [ANNA["id"]]
    assert asyncio.run(quirks.items()) == frozenset()


def test_a_target_that_stumbles_over_a_quote_is_not_mistrusted_for_everybody(use):
    def answer(request):
        asked = request.query.get("filter", "")
        return (
            Answer(400, {"scimType": "invalidFilter"})
            if "\\" in asked
            else listing(*([] if asked else [{**ANNA, "userName": 'o"b'}]))
        )

    async def body(target):
        return await target.find("userName", 'o"b')

    quirks = QuirksInMemory()
    found, _ = use(no_discovery(answer), body, quirks=quirks)
    assert [account.scim_id for account in found] == [ANNA["id"]]
    assert asyncio.run(quirks.items()) == frozenset()


def test_pages_are_no_larger_than_the_target_announces(use):
    def answer(request):
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"filter": {"supported": True, "maxResults": 5}})
        return page(request, ACCOUNTS, 5) if int(request.query["count"]) <= 5 else Answer(400)

    assert len(use(answer, collect)[0]) == len(ACCOUNTS)


def test_several_matches_are_all_shown(use):
    async def body(target):
        return await target.find("userName", "anna")

    found, _ = use(no_discovery(lambda _: listing(ANNA, {**ANNA, "id": "2", "userName": "ANNA"})), body)
    assert len(found) == 2

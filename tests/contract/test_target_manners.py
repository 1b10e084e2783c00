"""DESIGN 5.3: how service providers behave, each placed by hand over real HTTP, and what ScimTarget makes of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import nullcontext
from email.utils import format_datetime
from typing import Any

import pytest

from config.settings import LimitSettings, MappedValue, Secret, TargetSettings
from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Outage,
    Permanent,
    ProvisioningError,
    Superseded,
    Throttled,
    Transient,
    Unauthorized,
)
from provisioning.model import Changes, Desired
from scim.quirks import QuirksInMemory
from scim.target import open_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget

CANARY = "canary-value"
ANNA = {"id": "a/1 ?ü", "userName": "anna", "externalId": "x-1", "active": True}
CHANGES = Changes(set={"displayName": "New"})
WANTED = Desired({"userName": "anna", "displayName": "New"})


@pytest.fixture(autouse=True)
def _token(tmp_path, request):
    (tmp_path / "token").write_text("secret-token")
    request.node.token = tmp_path / "token"


@pytest.fixture
def use(tmp_path) -> Callable[..., Any]:
    def user(
        answer: Callable[[Request], Answer], body: Callable[[Any], Any], quirks: Any = None, **known: Any
    ) -> Any:
        with ScriptedTarget(answer) as server:
            settings = TargetSettings(
                name="acme",
                base_url=server.base_url,
                token=Secret(file=tmp_path / "token"),
                mapping={"userName": MappedValue(value="name")},
                limits=LimitSettings(timeout_seconds=2),
                **known,
            )

            async def run() -> Any:
                target = open_target(settings, quirks=quirks)
                try:
                    return await body(target)
                finally:
                    await target.close()

            return asyncio.run(run()), server

    return user


def listing(*accounts: Any, total: int | None = None) -> Answer:
    return Answer(
        body={"totalResults": len(accounts) if total is None else total, "Resources": list(accounts)}
    )


def no_discovery(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """A target without ServiceProviderConfig."""
    return lambda request: Answer(404) if request.path == "/ServiceProviderConfig" else answer(request)


async def collect(target: Any) -> list[str]:
    return [account.scim_id async for page in target.listing() for account in page]


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(400, {"scimType": "invalidValue"}), Permanent),
        (Answer(400, {"detail": f"{CANARY} already exists"}), Conflict),
        (Answer(400, {"scimType": "uniqueness"}), Conflict),
        (Answer(401), Unauthorized),
        (Answer(403), Permanent),
        (Answer(404), Outage),
        (Answer(409), Conflict),
        (Answer(409, {"scimType": "uniqueness", "detail": CANARY}), Conflict),
        (Answer(413), Permanent),
        (Answer(429), Throttled),
        (Answer(500, f"<html>{CANARY}"), AmbiguousWrite),
        (Answer(503), AmbiguousWrite),
        (Answer(503, headers={"Retry-After": "7"}), Throttled),
        (Answer(302, headers={"Location": "/scim/v3"}), AmbiguousWrite),
        (Answer(201, "<html>hello"), AmbiguousWrite),
        (Answer(201, ""), AmbiguousWrite),
        (Answer(201, {"id": "x", "userName": CANARY}, cut=12), AmbiguousWrite),
        (Answer(silent=True), AmbiguousWrite),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status),
)
def test_what_a_failed_create_means(use, answer, expected):
    async def body(target):
        with pytest.raises(ProvisioningError) as raised:
            await target.create({"userName": CANARY})
        return raised.value

    error, server = use(no_discovery(lambda _: answer), body)
    assert type(error) is expected
    assert CANARY not in str(error)
    assert "secret-token" not in repr(error)
    assert len(server.asked("POST")) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500), Transient),
        (Answer(502, "<html>"), Transient),
        (Answer(404), Missing),
        (Answer(412), Superseded),
    ],
    ids=["500", "502", "404", "412"],
)
def test_what_a_failed_read_means(use, answer, expected):
    async def body(target):
        with pytest.raises(expected):
            await target.get("x")

    use(no_discovery(lambda _: answer), body)


def test_retry_after_in_seconds_and_as_a_date(use):
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)

    async def body(target):
        with pytest.raises(Throttled) as raised:
            await target.get("x")
        return raised.value.retry_after_seconds

    assert use(no_discovery(lambda _: Answer(429, headers={"Retry-After": "9"})), body)[0] == 9
    assert 50 < use(no_discovery(lambda _: Answer(429, headers={"Retry-After": later})), body)[0] <= 60
    assert use(no_discovery(lambda _: Answer(429)), body)[0] == 5


def test_an_answer_over_the_size_cap_is_refused(use):
    async def body(target):
        with pytest.raises(Transient, match="larger"):
            await target.get("x")

    use(no_discovery(lambda _: Answer(body={"id": "x", "note": "x" * 9_000_000})), body)


def test_a_redirect_keeps_the_method_and_the_token_never_leaves_the_origin(use):
    def answer(request):
        if request.path == "/Users":
            return Answer(307, headers={"Location": "/scim/moved/Users"})
        return Answer(201, {**ANNA, "id": "new"})

    async def create(target):
        return await target.create({"userName": "anna"})

    made, server = use(no_discovery(answer), create)
    assert made.scim_id == "new"
    assert [request.path for request in server.asked("POST")] == ["/Users", "/moved/Users"]

    with ScriptedTarget(lambda _: Answer(201, ANNA)) as elsewhere:

        async def fail(target):
            with pytest.raises(AmbiguousWrite, match="another origin"):
                await target.create({"userName": "anna"})

        use(no_discovery(lambda _: Answer(308, headers={"Location": f"{elsewhere.base_url}/Users"})), fail)
        assert elsewhere.requests == []


def test_a_target_that_is_down_is_an_outage(tmp_path):
    settings = TargetSettings(
        name="acme", base_url="http://127.0.0.1:9", token=Secret(file=tmp_path / "token"), mapping={}
    )

    async def body() -> None:
        target = open_target(settings)
        try:
            with pytest.raises(Outage):
                await target.probe()
        finally:
            await target.close()

    asyncio.run(body())


def test_a_token_put_right_in_its_file_works_at_once(use, tmp_path):
    async def body(target):
        with pytest.raises(Unauthorized):
            await target.probe()
        (tmp_path / "token").write_text("good")
        await target.probe()

    use(lambda request: listing() if request.headers["authorization"] == "Bearer good" else Answer(401), body)


# -- finding -------------------------------------------------------------------------------------------------------


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
    "answer", [Answer(404), Answer(body={"totalResults": 0}), listing()], ids=["404", "no list", "empty"]
)
def test_no_match_has_many_forms(use, answer):
    async def body(target):
        return await target.find("externalId", "x-1")

    assert use(no_discovery(lambda _: answer), body)[0] == []


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
    assert len([request for request in server.requests if "filter" in request.query]) == 1


def test_a_target_that_stumbles_over_a_quote_is_not_mistrusted_for_everybody(use):
    def answer(request):
        asked = request.query.get("filter", "")
        return (
            Answer(400, {"scimType": "invalidFilter"})
            if "\\" in asked
            else listing({**ANNA, "userName": 'o"b'})
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


# -- listings ------------------------------------------------------------------------------------------------------


def page(request: Request, accounts: list[Any], cap: int, total: int | None = None) -> Answer:
    start = int(request.query.get("startIndex", 1))
    count = min(int(request.query.get("count", cap)), cap)
    return listing(*accounts[start - 1 : start - 1 + count], total=len(accounts) if total is None else total)


ACCOUNTS = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 26)]


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


async def collect_or_incomplete(target: Any) -> Any:
    try:
        return await collect(target)
    except Transient:
        return "incomplete"


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


# -- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [Answer(204), Answer(200, {**ANNA, "displayName": "New"})], ids=["204", "200"]
)
def test_patch_may_answer_with_or_without_the_account(use, answer):
    async def body(target):
        return await target.update("a", CHANGES, WANTED, None)

    account, _ = use(no_discovery(lambda _: answer), body)
    assert account is None or account.resource["displayName"] == "New"


@pytest.mark.parametrize("status", [405, 404, 501])
def test_a_target_that_cannot_patch_is_sent_the_whole_account_and_what_is_not_ours_stays(use, status):
    stored = {"a": {**ANNA, "id": "a", "title": "kept", "meta": {"version": "1"}}}

    def answer(request):
        if request.method == "PATCH":
            return Answer(status)
        if request.method == "PUT":
            stored["a"] = request.body
        return Answer(200, stored["a"])

    async def body(target):
        await target.update("a", CHANGES, WANTED, None)
        await target.update("a", CHANGES, WANTED, None)

    _, server = use(no_discovery(answer), body, quirks=QuirksInMemory())
    assert stored["a"]["displayName"] == "New"
    assert stored["a"]["title"] == "kept"
    assert "meta" not in stored["a"]
    assert len(server.asked("PATCH")) == 1


def test_a_patch_of_an_account_that_is_gone_is_a_stale_link(use):
    async def body(target):
        with pytest.raises(Missing):
            await target.update("a", CHANGES, WANTED, None)

    _, server = use(no_discovery(lambda _: Answer(404)), body)
    assert server.asked("PUT") == []


@pytest.mark.parametrize(
    "refusal", [Answer(400, {"scimType": "noTarget"}), Answer(501)], ids=["noTarget", "501"]
)
def test_one_refused_path_goes_by_put_and_others_still_by_patch(use, refusal):
    def answer(request):
        paths = [each["path"] for each in (request.body or {}).get("Operations", ())]
        return refusal if request.method == "PATCH" and "title" in paths else Answer(200, {**ANNA, "id": "a"})

    async def body(target):
        await target.update("a", Changes(set={"title": "x"}), Desired({"title": "x"}), None)
        await target.update("a", CHANGES, WANTED, None)
        await target.update("a", Changes(set={"title": "y"}), Desired({"title": "y"}), None)

    quirks = QuirksInMemory()
    _, server = use(no_discovery(answer), body, quirks=quirks)
    assert [request.method for request in server.requests if request.method in {"PATCH", "PUT"}] == [
        "PATCH", "PUT", "PATCH", "PUT",
    ]  # fmt: skip
    assert asyncio.run(quirks.items()) == {"put_path:title"}


def test_a_version_goes_along_where_the_target_has_etags_and_412_says_so(use):
    def answer(request):
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"etag": {"supported": True}, "patch": {"supported": True}})
        return Answer(204) if request.headers.get("if-match") == 'W/"2"' else Answer(412)

    async def body(target):
        await target.update("a", CHANGES, WANTED, 'W/"2"')
        with pytest.raises(Superseded):
            await target.update("a", CHANGES, WANTED, 'W/"1"')

    use(answer, body)


def test_deleting_what_is_gone_is_success(use):
    async def body(target):
        await target.delete("a")

    use(no_discovery(lambda _: Answer(404)), body)


@pytest.mark.parametrize("said", [Answer(200), Answer(200, {}), Answer(202)], ids=["200", "200 {}", "202"])
@pytest.mark.parametrize("method", ["patch", "put"])
def test_a_write_answered_without_the_account_is_not_believed(use, said, method):
    """Something in between may have answered it: the account is to be read first."""

    async def body(target):
        with pytest.raises(Transient, match="without the account"):
            await target.update("a", CHANGES, WANTED, None)

    def answer(request):
        return Answer(200, {**ANNA, "id": "a"}) if request.method == "GET" else said

    use(no_discovery(answer), body, update_method=method)


@pytest.mark.parametrize("said", [Answer(200), Answer(202), Answer(200, {"id": "a"})])
@pytest.mark.parametrize("there", [True, False])
def test_a_delete_answered_with_anything_but_204_is_looked_at(use, said, there):
    async def body(target):
        with pytest.raises(Transient, match="still shows") if there else nullcontext():
            await target.delete("a")

    def answer(request):
        if request.method == "DELETE":
            return said
        return Answer(200, {**ANNA, "id": "a"}) if there else Answer(404)

    use(no_discovery(answer), body)


@pytest.mark.parametrize(("method", "verb"), [("put", "PUT"), ("patch", "PATCH")])
def test_the_operator_may_choose_the_method(use, method, verb):
    async def body(target):
        await target.update("a", CHANGES, WANTED, None)

    _, server = use(no_discovery(lambda _: Answer(200, {**ANNA, "id": "a"})), body, update_method=method)
    assert [request.method for request in server.requests if request.method in {"PUT", "PATCH"}] == [verb]


def test_active_as_text_is_understood(use):
    async def body(target):
        return await target.get("a")

    assert use(no_discovery(lambda _: Answer(200, {**ANNA, "active": "False"})), body)[0].active is False
    assert use(no_discovery(lambda _: Answer(200, {**ANNA, "active": "True"})), body)[0].active is True


def test_discovery_of_garbage_leaves_the_defaults(use):
    async def body(target):
        schemas = await target.schemas()
        return await target.features(), schemas.from_target

    (features, from_target), _ = use(lambda _: Answer(200, "<html>"), body)
    assert features.patch is None
    assert not from_target


@pytest.mark.parametrize("schemes", [200, 401])
def test_oauth2_tokens_are_kept_and_asked_for_anew_after_a_401(use, tmp_path, schemes):
    from config.settings import OAuth2Settings

    issued = []

    def tokens(request):
        issued.append(request)
        return Answer(body={"access_token": f"t{len(issued)}", "expires_in": 3600})

    def answer(request):
        valid = "Bearer t1" if schemes == 200 else "Bearer t2"
        return listing() if request.headers["authorization"] == valid else Answer(401)

    with ScriptedTarget(tokens) as issuer, ScriptedTarget(answer) as server:
        oauth2 = OAuth2Settings(
            token_url=issuer.base_url,
            client_id="c",
            client_secret=Secret(file=tmp_path / "token"),
            scope="scim",
        )
        settings = TargetSettings(name="acme", base_url=server.base_url, oauth2=oauth2, mapping={})

        async def body() -> None:
            target = open_target(settings)
            try:
                await target.probe()
                await target.probe()
            finally:
                await target.close()

        asyncio.run(body())
    assert len(issued) == (1 if schemes == 200 else 2)

"""DESIGN 5.3: PATCH, PUT, DELETE and ETags as targets take them; over real HTTP."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from config.settings import Secret, TargetSettings
from provisioning.errors import (
    AmbiguousWrite,
    Missing,
    Permanent,
    Superseded,
)
from provisioning.model import Changes, Desired
from scim.quirks import QuirksInMemory
from scim.target import open_target
from tests.support.manners import ANNA, CHANGES, WANTED, listing, no_discovery
from tests.support.scripted_target import Answer, ScriptedTarget


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
    # 404 may be by chance, once.
    assert len(server.asked("PATCH")) == (2 if status == 404 else 1)


def test_one_stray_404_to_a_patch_teaches_nothing(use):
    strays = [Answer(404)]

    def answer(request):
        if request.method == "PATCH":
            return strays.pop() if strays else Answer(204)
        return Answer(200, {**ANNA, "id": "a"})

    async def body(target):
        await target.update("a", CHANGES, WANTED, None)
        await target.update("a", CHANGES, WANTED, None)

    quirks = QuirksInMemory()
    _, server = use(no_discovery(answer), body, quirks=quirks)
    assert [each.method for each in server.requests if each.path == "/Users/a"] == [
        "PATCH", "GET", "PATCH", "PATCH",
    ]  # fmt: skip
    assert asyncio.run(quirks.items()) == frozenset()


def test_a_patch_of_an_account_that_is_gone_is_a_stale_link(use):
    async def body(target):
        with pytest.raises(Missing):
            await target.update("a", CHANGES, WANTED, None)

    _, server = use(no_discovery(lambda _: Answer(404)), body)
    assert server.asked("PUT") == []


@pytest.mark.parametrize(
    "refusal",
    [*(Answer(400, {"scimType": said}) for said in ("noTarget", "invalidFilter")), Answer(501)],
    ids=["noTarget", "invalidFilter", "501"],
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
        if request.method == "GET":
            return Answer(200, {**ANNA, "meta": {"version": 'W/"2"'}})
        return Answer(204) if request.headers.get("if-match") == 'W/"2"' else Answer(412)

    async def body(target):
        await target.update("a", CHANGES, WANTED, 'W/"2"')
        with pytest.raises(Superseded):
            await target.update("a", CHANGES, WANTED, 'W/"1"')

    use(answer, body)


def test_deleting_what_is_gone_is_success(use):
    async def body(target):
        await target.delete("a")

    use(no_discovery(lambda request: listing() if request.path == "/Users" else Answer(404)), body)


def test_a_delete_answered_404_is_not_believed_while_the_account_is_shown(use):
    """Whoever has no such method says so too."""

    async def body(target):
        with pytest.raises(AmbiguousWrite, match="still shows"):
            await target.delete("a")

    use(
        no_discovery(
            lambda request: Answer(404) if request.method == "DELETE" else Answer(200, {**ANNA, "id": "a"})
        ),
        body,
    )


@pytest.mark.parametrize("said", [Answer(200), Answer(200, {}), Answer(202)], ids=["200", "200 {}", "202"])
@pytest.mark.parametrize("method", ["patch", "put"])
def test_a_write_answered_without_the_account_is_not_believed(use, said, method):
    """Something in between may have answered it: the account is to be read first."""

    async def body(target):
        with pytest.raises(AmbiguousWrite, match="without the account"):
            await target.update("a", CHANGES, WANTED, None)

    def answer(request):
        return Answer(200, {**ANNA, "id": "a"}) if request.method == "GET" else said

    use(no_discovery(answer), body, update_method=method)


@pytest.mark.parametrize("said", [Answer(200), Answer(202), Answer(200, {"id": "a"})])
@pytest.mark.parametrize("there", [True, False])
def test_a_delete_answered_with_anything_but_204_is_looked_at(use, said, there):
    async def body(target):
        with pytest.raises(AmbiguousWrite, match="still shows") if there else nullcontext():
            await target.delete("a")

    def answer(request):
        if request.method == "DELETE":
            return said
        if request.path == "/Users":
            return listing()
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


def test_a_target_that_takes_plain_json_only_is_sent_that(use):
    """Medplum and better-auth said 415 to application/scim+json once: everybody was a dead letter."""

    def answer(request):
        if request.body and request.headers["content-type"] != "application/json":
            return Answer(415)
        return Answer(200, {**ANNA, "id": "a", "displayName": "New"})

    async def body(target):
        await asyncio.gather(*(target.update("a", CHANGES, WANTED, None) for _ in range(3)))
        await target.create({"userName": "anna"})

    _, server = use(no_discovery(answer), body)
    assert len(server.asked("POST")) == 1
    assert server.asked("PUT") == []


def test_a_target_that_takes_neither_is_sent_both_but_once(use):
    async def body(target):
        with pytest.raises(Permanent):
            await target.create({"userName": "anna"})

    _, server = use(no_discovery(lambda _: Answer(415)), body)
    assert [each.headers["content-type"] for each in server.asked("POST")] == [
        "application/scim+json", "application/json",
    ]  # fmt: skip

"""Answers to single requests that are not what they should be."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.errors import (
    AmbiguousWrite,
    Outage,
    ProvisioningError,
    Throttled,
    Transient,
    Unauthorized,
)
from provisioning.model import Changes, Desired
from scim.quirks import QuirksInMemory, put_path, unfiltered
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget

HTML = Answer(200, "<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html"})
EMPTY = Answer(body={"totalResults": 0})
ANNA = {"id": "a", "userName": "anna", "meta": {"version": 'W/"1"'}}
CHANGES = Changes(set={"title": "x"})


def run(answer: Any, body: Any, **known: Any) -> tuple[Any, ScriptedTarget]:
    with ScriptedTarget(answer if callable(answer) else lambda _: answer) as server:
        return with_target(server.base_url, body, **known), server


# -- a page that is not SCIM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [(HTML, "not a SCIM server"), (Answer(200, ""), "not a SCIM server"), (Answer(200, [1]), "not a SCIM server"),
     (Answer(404, "<html>"), "404"), (Answer(403), "403"), (Answer(400), "400")],
    ids=["html", "empty", "list", "404", "403", "400"],
)  # fmt: skip
def test_an_address_that_is_not_a_scim_server_does_not_pass_for_one(answer, words):
    async def body(target):
        with pytest.raises(Outage, match=words):
            await target.probe()

    run(answer, body)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(401), Unauthorized),
        (Answer(500), Transient),
        (Answer(503, headers={"Retry-After": "9"}), Throttled),
    ],
)
def test_a_probe_tells_what_is_the_matter(answer, expected):
    async def body(target):
        with pytest.raises(expected):
            await target.probe()

    run(answer, body)


@pytest.mark.parametrize("refusal", [Answer(400), Answer(404), Answer(501)], ids=["400", "404", "501"])
def test_a_target_that_shows_no_page_of_users_is_told_by_its_config(refusal):
    async def body(target):
        await target.probe()

    config = Answer(body={"schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"]})
    run(lambda request: config if request.path == "/ServiceProviderConfig" else refusal, body)


@pytest.mark.parametrize("name", ["get", "find", "delete", "patch", "put"])
def test_a_sign_in_page_is_no_success(name):
    calls = {
        "get": lambda target: target.get("a"),
        "find": lambda target: target.find("userName", "anna"),
        "delete": lambda target: target.delete("a"),
        "patch": lambda target: target.update("a", CHANGES, None, None),
        "put": lambda target: target.update("a", CHANGES, None, None),
    }

    async def body(target):
        with pytest.raises(Transient, match="SCIM"):
            await calls[name](target)

    def answer(request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(404)
        return Answer(body=ANNA) if name == "put" and request.method == "GET" else HTML

    run(answer, body, update_method="put" if name == "put" else "auto")


# -- creates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(201, {"id": "new id"}),
        Answer(200, {"id": "new id", "userName": "anna"}),
        Answer(201, "", headers={"Location": "https://x.example/scim/v2/Users/new%20id"}),
        Answer(201, "", headers={"Location": "/scim/Users/new%20id/"}),
        Answer(201, "Created", headers={"Location": "/scim/users/new%20id?x=1"}),
    ],
    ids=["201", "200", "Location", "relative Location", "text and Location"],
)
def test_a_create_is_known_by_its_body_or_its_location(answer):
    async def body(target):
        return (await target.create({"userName": "anna"})).scim_id

    assert run(answer, body)[0] == "new id"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(201, {}),
        Answer(201, {"userName": "anna"}),
        Answer(201, [], headers={"Location": "/scim/Users"}),
        Answer(201, "", headers={"Location": "/scim/Users/"}),
        Answer(201, "", headers={"Location": "/welcome/anna"}),
        Answer(204),
        HTML,
    ],
    ids=["empty", "no id", "the collection", "the collection/", "elsewhere", "204", "html"],
)
def test_a_create_that_does_not_say_what_it_made_must_be_looked_up(answer):
    async def body(target):
        with pytest.raises(AmbiguousWrite):
            await target.create({"userName": "anna"})

    assert len(run(answer, body)[1].asked("POST")) == 1


# -- updates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ['W/"1"\nX-Evil: 1', 'W/"\u00e9"', "\x00", ""])
def test_a_version_that_cannot_be_a_header_is_left_out(version):
    def answer(request: Request) -> Answer:
        announced = Answer(body={"etag": {"supported": True}, "patch": {"supported": True}})
        return announced if request.path == "/ServiceProviderConfig" else Answer(204)

    async def body(target):
        await target.update("a", CHANGES, None, version)

    _, server = run(answer, body)
    (patch,) = server.asked("PATCH")
    assert "if-match" not in patch.headers
    assert "x-evil" not in patch.headers


def test_another_users_account_is_never_put_in_place_of_the_one_asked_for():
    def answer(request: Request) -> Answer:
        return Answer(body={**ANNA, "id": "b"}) if request.method == "GET" else Answer(200)

    async def body(target):
        with pytest.raises(Transient, match="another user"):
            await target.update("a", CHANGES, None, None)

    _, server = run(answer, body, update_method="put")
    assert server.asked("PUT") == []


def test_an_id_in_another_case_is_the_same_account():
    def answer(request: Request) -> Answer:
        return Answer(body={**ANNA, "id": "AB-1"}) if request.method == "GET" else Answer(204)

    async def body(target):
        await target.update("ab-1", CHANGES, None, None)

    assert len(run(answer, body, update_method="put")[1].asked("PUT")) == 1


def test_of_several_paths_refused_together_those_that_worked_before_are_not_to_blame():
    def answer(request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(404)
        paths = [each["path"] for each in (request.body or {}).get("Operations", ())]
        return Answer(501) if "title" in paths else Answer(200, ANNA)

    async def body(target):
        await target.update("a", Changes(set={"active": False}), None, None)
        both = {"active": True, "title": "x"}
        await target.update("a", Changes(set=both), Desired(both), None)
        return await quirks.items()

    quirks = QuirksInMemory()
    learned, _ = run(answer, body, quirks=quirks)
    assert learned == {put_path("title")}


def test_nothing_is_learned_from_a_put_that_fails_too():
    def answer(request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(404)
        return Answer(body=ANNA) if request.method == "GET" else Answer(501)

    async def body(target):
        with pytest.raises(Exception, match="501"):
            await target.update("a", CHANGES, None, None)
        return await quirks.items()

    quirks = QuirksInMemory()
    assert run(answer, body, quirks=quirks)[0] == frozenset()


def test_the_operators_patch_is_not_replaced_by_put():
    async def body(target):
        with pytest.raises(Exception, match="501"):
            await target.update("a", CHANGES, None, None)

    assert run(Answer(501), body, update_method="patch")[1].asked("PUT") == []


@pytest.mark.parametrize("status", [404, 410])
def test_deleting_what_is_gone_is_success(status):
    async def body(target):
        await target.delete("a")

    run(lambda request: Answer(body={}) if request.path == "/Users" else Answer(status), body)


@pytest.mark.parametrize("status", [404, 410])
def test_who_says_of_everything_that_it_is_not_there_has_not_deleted_anybody(status):
    """A proxy whose target is away."""

    async def body(target):
        with pytest.raises(ProvisioningError):
            await target.delete("a")

    run(Answer(status), body)


@pytest.mark.parametrize("method", ["auto", "patch", "put"])
def test_404_to_a_write_is_not_believed_of_an_account_that_is_shown(method):
    """Whoever took it to be gone would make a second one, or leave a leaver's active."""

    async def body(target):
        with pytest.raises(Transient) as raised:
            await target.update("a", CHANGES, Desired({"userName": "anna", "title": "x"}), None)
        return raised.value

    def answer(request: Request) -> Answer:
        return Answer(body=ANNA) if request.method == "GET" and request.path == "/Users/a" else Answer(404)

    error, _ = run(answer, body, update_method=method)
    assert (type(error), error.status_code) == (Transient, 404)


@pytest.mark.parametrize("there", [True, False])
def test_an_element_that_is_there_is_changed_though_it_was_never_sent(there):
    """As where a mapping was extended, or an adopted account has an address and its user gets one later."""
    work = {"type": "work", "value": "old@example.test"}
    account = {**ANNA, "emails": [work] if there else [{**work, "type": "home"}]}
    path = 'emails[type eq "work"].value'
    changes = Changes(set={path: "new@example.test"}, added=frozenset({path}))

    async def body(target):
        await target.update("a", changes, Desired({"userName": "anna", path: "new@example.test"}), None)

    _, server = run(lambda _: Answer(body=account), body, update_method="patch")
    (patch,) = (request for request in server.requests if request.method == "PATCH")
    (operation,) = patch.body["Operations"]
    assert (operation["op"], operation["path"]) == (("replace", path) if there else ("add", "emails"))


def test_404_to_a_create_is_about_its_user_where_the_target_is_there():
    """As of a manager who is not found. For ever "the target is away", the user would be pending for ever."""

    async def body(target):
        with pytest.raises(Transient) as raised:
            await target.create({"userName": "anna"})
        return raised.value

    error, _ = run(lambda request: Answer(404) if request.method == "POST" else EMPTY, body)
    assert (type(error), error.status_code) == (Transient, 404)


def test_404_to_a_create_and_to_all_else_is_a_target_that_is_not_there():
    async def body(target):
        with pytest.raises(Outage, match="is base_url the SCIM base URL"):
            await target.create({"userName": "anna"})

    run(Answer(404), body)


def test_404_to_a_listing_is_not_believed_without_a_probe():
    """Where the filter is known to be of no use, a leaver would have no account, for good."""

    async def body(target):
        with pytest.raises(Outage):
            await target.find("externalId", "x")

    run(Answer(404, "<html>"), body, quirks=QuirksInMemory({unfiltered("externalId")}))


# -- searching -----------------------------------------------------------------------------------------------------


def test_a_person_is_not_shown_people_they_did_not_ask_for_where_filters_are_ignored():
    strangers = [{"id": str(number), "userName": f"u{number}"} for number in range(20)]

    def answer(request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(404)
        everybody = [*strangers, ANNA]
        return Answer(
            body={"totalResults": 21, "Resources": everybody if "startIndex" in request.query else strangers}
        )

    async def body(target):
        return [account.scim_id for account in await target.search("ann")]

    assert run(answer, body)[0] == ["a"]


def test_a_search_for_nothing_shows_the_first():
    async def body(target):
        return len(await target.search("", 3))

    shown = [{"id": str(number)} for number in range(9)]
    assert run(Answer(body={"totalResults": 9, "Resources": shown}), body)[0] == 3

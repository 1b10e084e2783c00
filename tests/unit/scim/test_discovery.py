"""RFC 7644 4: what a target says of itself, well, badly or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.errors import Throttled
from provisioning.paths import CORE_USER
from scim.discovery import Features
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget

OWN = "urn:ietf:params:scim:schemas:extension:acme:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
GARBAGE = [
    Answer(404),
    Answer(500),
    Answer(401),
    Answer(403),
    Answer(200, "<html>"),
    Answer(200, ""),
    Answer(200, [1]),
    Answer(200, {}),
    Answer(200, {"Resources": 5, "patch": "yes", "filter": [], "etag": None, "pagination": 1}),
    Answer(
        200, {"Resources": [5, None, {"id": CORE_USER, "attributes": 5}], "filter": {"maxResults": "many"}}
    ),
    Answer(200, {"Resources": [{"endpoint": "/Users", "schemaExtensions": 5}]}),
]


def asked(answers: dict[str, Answer] | Answer, body: Any) -> Any:
    def answer(request: Request) -> Answer:
        return answers if isinstance(answers, Answer) else answers.get(request.path, Answer(404))

    with ScriptedTarget(answer) as server:
        return with_target(server.base_url, body)


async def features(target):
    return await target.features()


async def schemas(target):
    return await target.schemas()


def schema(urn: str, *names: str) -> dict[str, Any]:
    return {"id": urn, "attributes": [{"name": name, "type": "string"} for name in names]}


def listed(*resources: Any) -> Answer:
    return Answer(body={"totalResults": len(resources), "Resources": list(resources)})


@pytest.mark.parametrize(
    "answer",
    [Answer(body={}, cut=1), Answer(302, headers={"Location": "https://login.example/"})],
    ids=["cut", "sign-in"],
)
def test_a_description_that_cannot_be_had_stops_nobody(answer):
    """The target itself may be well: each update would fail, and its users be dead letters."""
    assert asked(answer, features) == Features()


def test_announced_features_are_read():
    config = {
        "patch": {"supported": True},
        "filter": {"supported": False, "maxResults": 100},
        "etag": {"supported": True},
        "bulk": {"supported": True, "maxOperations": 10},
        "pagination": {"cursor": True, "index": False, "maxPageSize": 50},
    }
    found = asked({"/ServiceProviderConfig": Answer(body=config)}, features)
    assert found == Features(
        announced=True,
        patch=True,
        filter=False,
        etag=True,
        bulk=True,
        cursor=True,
        max_results=50,
        max_operations=10,
    )


@pytest.mark.parametrize("answer", GARBAGE, ids=lambda each: f"{each.status} {str(each.body)[:30]}")
def test_garbage_leaves_what_is_unknown_unknown(answer):
    found = asked(answer, features)
    assert (found.patch, found.etag, found.max_results, found.cursor) == (None, None, None, False)
    assert found.filter is not True


@pytest.mark.parametrize("answer", GARBAGE, ids=lambda each: f"{each.status} {str(each.body)[:30]}")
def test_garbage_for_schemas_leaves_those_of_the_rfc(answer):
    found = asked(answer, schemas)
    assert not found.from_target
    assert {"userName", "emails.value"} <= dict(found.attributes()).keys()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(Answer(429), Throttled), (Answer(503, headers={"Retry-After": "3"}), Throttled)],
)
def test_what_concerns_the_whole_target_is_told_and_not_taken_for_defaults(answer, expected):
    for question in (features, schemas):

        async def body(target, question=question):
            with pytest.raises(expected):
                await question(target)

        asked(answer, body)


def test_features_are_asked_for_once():
    with ScriptedTarget(lambda _: Answer(body={"patch": {"supported": True}})) as server:

        async def body(target):
            await target.features()
            await target.features()

        with_target(server.base_url, body)
        assert len(server.requests) == 1


def test_the_schemas_of_a_user_are_those_of_its_resource_type():
    kinds = [
        {"endpoint": "/Groups", "schema": GROUP},
        {"endpoint": "/Users", "schema": CORE_USER, "schemaExtensions": [{"schema": OWN, "required": False}]},
    ]
    answers = {
        "/ResourceTypes": listed(*kinds),
        "/Schemas": listed(
            schema(CORE_USER, "userName"),
            schema(GROUP, "members"),
            schema(OWN, "badge"),
            schema("urn:x:y", "z"),
        ),
    }
    found = asked(answers, schemas)
    assert found.from_target
    assert dict(found.attributes()).keys() == {"userName", f"{OWN}:badge"}


def test_without_resource_types_extensions_are_told_by_their_urn():
    answers = {
        "/Schemas": listed(schema(CORE_USER, "userName"), schema(GROUP, "members"), schema(OWN, "badge"))
    }
    assert dict(asked(answers, schemas).attributes()).keys() == {"userName", f"{OWN}:badge"}

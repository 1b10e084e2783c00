"""RFC 7644 3.7: what a Bulk request looks like, and whose answer is whose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scim.bulk_message import BETWEEN_BYTES, FRAME_BYTES, bulk_answers, bulk_request, operation

ANNA = operation("POST", "/Users", {"userName": "anna"}, None, "1")
BEN = operation("POST", "/Users", {"userName": "ben"}, None, "2")
CARL = operation("PATCH", "/Users/c%2F1", {"Operations": []}, 'W/"3"', "3")
DORA = operation("DELETE", "/Users/D", None, None, "4")
ALL = (ANNA, BEN, CARL, DORA)


def answered(operations: Any, *entries: Any) -> list[Any]:
    """Of each operation its status, None where it is not known."""
    answers = bulk_answers(operations, {"schemas": [], "Operations": list(entries)})
    return [answer and answer.status for answer in answers]


def made(bulk_id: Any, scim_id: str = "x", **more: Any) -> dict[str, Any]:
    location = f"https://acme.example/v2/Users/{scim_id}"
    return {"method": "POST", "bulkId": bulk_id, "status": "201", "location": location, **more}


def changed(method: str, scim_id: str, status: Any = "200", **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "status": status,
        "location": f"https://acme.example/v2/Users/{scim_id}",
        **more,
    }


def test_a_request_holds_each_operation_as_the_rfc_spells_it_and_its_size_is_known_before():
    content = bulk_request(ALL)
    assert json.loads(content) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "1", "data": {"userName": "anna"}},
            {"method": "POST", "path": "/Users", "bulkId": "2", "data": {"userName": "ben"}},
            {"method": "PATCH", "path": "/Users/c%2F1", "version": 'W/"3"', "data": {"Operations": []}},
            {"method": "DELETE", "path": "/Users/D"},
        ],
    }
    parts = sum(len(each.text) for each in ALL)
    assert len(content) == FRAME_BYTES + parts + BETWEEN_BYTES * (len(ALL) - 1)


def test_what_json_can_spell_and_utf8_cannot_is_sent_all_the_same():
    half = operation("POST", "/Users", {"userName": "\ud83d"}, None, "1")
    (sent,) = json.loads(bulk_request([half]))["Operations"]
    assert sent["data"]["userName"] == "\ud83d"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_answers_are_known_by_bulk_id_and_by_account_in_any_order(order):
    entries = [made("1"), made("2", status="409"), changed("PATCH", "c%2F1"), changed("DELETE", "D", "404")]
    assert answered(ALL, *(entries[at] for at in order)) == [201, 409, 204, 404]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("201", 201), (201, 201), ({"code": "201"}, 201), ({"code": 201}, 201), (" 201 ", 201),
     ("created", None), (True, None), (None, None), ({}, None), ([], None), ("99", None), (0, None), ("2O1", None)],
)  # fmt: skip
def test_a_status_has_many_forms(status, expected):
    assert answered([ANNA], made("1", status=status)) == [expected]


def test_a_created_account_is_named_by_the_resource_or_by_the_location_alone():
    whole = {"id": "x", "userName": "anna", "meta": {"version": 'W/"1"'}}
    with_resource, with_location, with_nothing = (
        bulk_answers([ANNA], {"Operations": [entry]})[0]
        for entry in (
            made("1", response=whole),
            made("1", "a%2Fb", version='W/"7"'),
            made("1", location=None),
        )
    )
    assert with_resource.body == whole
    assert (with_location.body, with_location.headers["etag"]) == ({"id": "a/b"}, 'W/"7"')
    assert (with_nothing.status, with_nothing.body) == (201, None)


def test_a_new_version_is_kept_though_the_account_is_not_shown():
    (answer,) = bulk_answers([CARL], {"Operations": [changed("PATCH", "c%2F1", version='W/"4"')]})
    assert (answer.body, answer.headers["etag"]) == ({"id": "c/1"}, 'W/"4"')


def test_an_error_is_what_response_says():
    error = {"schemas": [], "status": "400", "scimType": "invalidValue", "detail": "x"}
    (answer,) = bulk_answers([CARL], {"Operations": [changed("PATCH", "c%2F1", "400", response=error)]})
    assert (answer.status, answer.body) == (400, error)


def test_an_operation_that_is_not_answered_is_not_known_and_the_others_are():
    assert answered(ALL, made("2"), changed("DELETE", "D", "204")) == [None, 201, None, 204]


@pytest.mark.parametrize(
    "stranger",
    [made("99"), made("3"), changed("PATCH", "somebody"), changed("PUT", "c%2F1"), None, 5, [],
     {"method": "DELETE", "bulkId": "1", "status": "204"}, {"status": "200", "response": {"id": "other"}}],
)  # fmt: skip
def test_an_answer_to_what_was_not_asked_is_nobodys(stranger):
    assert answered([ANNA, CARL], stranger, stranger) == [None, None]


@pytest.mark.parametrize("second", ["201", "409"])
def test_an_operation_that_is_answered_twice_is_not_known(second):
    entries = [made("1"), made("1", status=second), made("2")]
    assert answered([ANNA, BEN], *entries) == [None, 201]


def test_success_of_another_account_is_none_of_this_one():
    entry = changed("PATCH", "c%2F1", response={"id": "somebody", "userName": "x"})
    assert answered([CARL], entry) == [None]


def test_two_writes_to_one_account_are_not_told_apart_by_it():
    again = operation("PATCH", "/Users/C%2f1", {}, None, "9")
    assert answered([CARL, again], changed("PATCH", "c%2F1")) == [None, None]
    assert answered([CARL, again], changed("PATCH", "c%2F1"), changed("PATCH", "c%2F1", "412")) == [
        None,
        None,
    ]


def test_answers_without_a_name_are_known_by_their_place_where_all_are_answered_and_none_out_of_place():
    nameless = {"method": "PATCH", "status": "200"}
    assert answered([CARL, DORA], nameless, {"status": "204"}) == [204, 204]
    assert answered([CARL, DORA], nameless) == [None, None], "one is missing"
    assert answered([CARL, DORA, ANNA], nameless, made("1"), {"status": "204"}) == [None, None, 201]
    assert answered([CARL, DORA], {"method": "DELETE", "status": "204"}, nameless) == [None, None]


def test_a_new_account_is_never_taken_from_an_answer_by_its_place():
    entries = [made(None, "ben's"), made(None, "anna's")]
    assert answered([ANNA, BEN], *entries) == [None, None]


@pytest.mark.parametrize(
    "body", [None, [], "x", 5, {}, {"Operations": None}, {"Operations": {"status": "200"}}]
)
def test_what_is_no_bulk_response_says_nothing_of_anybody(body):
    assert list(bulk_answers(ALL, body)) == [None] * 4


def test_names_of_attributes_know_no_letter_case():
    assert bulk_answers([ANNA], {"operations": [made("1")]})[0].status == 201

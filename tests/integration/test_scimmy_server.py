"""The second server behaves as a SCIM server, so that what is proven against it means something.

Where it differs from RFC 7644, the difference is pinned: scimpipe has to live with it (tests/scimmy/server.mjs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.scimmy import ScimmyServer, scimmy_server

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture
def server() -> Iterator[ScimmyServer]:
    with scimmy_server() as running:
        yield running


@pytest.fixture
def client(server: ScimmyServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/scim+json"}
    with httpx.Client(base_url=server.base_url, headers=headers) as opened:
        yield opened


def user(name: str, **attributes: Any) -> dict[str, Any]:
    return {"schemas": [CORE], "userName": name, **attributes}


def created(client: httpx.Client, name: str, **attributes: Any) -> str:
    answer = client.post("/Users", json=user(name, **attributes))
    assert answer.status_code == 201, answer.text
    scim_id: str = answer.json()["id"]
    return scim_id


def patched(client: httpx.Client, scim_id: str, **operation: Any) -> httpx.Response:
    return client.patch(f"/Users/{scim_id}", json={"schemas": [PATCH], "Operations": [operation]})


def found(client: httpx.Client, condition: str) -> list[str]:
    answer = client.get("/Users", params={"filter": condition})
    assert answer.status_code == 200, answer.text
    return [each["userName"] for each in answer.json()["Resources"]]


def test_a_created_account_is_stored_as_sent_with_its_extension(server, client):
    scim_id = created(
        client,
        "zoë",
        externalId="x-1",
        active=True,
        emails=[{"type": "work", "value": "zoe@example.org"}],
        **{ENTERPRISE: {"department": "R&D"}},
    )
    (stored,) = server.users()
    assert stored["id"] == scim_id
    assert stored["externalId"] == "x-1"
    assert stored["emails"] == [{"type": "work", "value": "zoe@example.org"}]
    assert stored[ENTERPRISE] == {"department": "R&D"}
    assert client.get(f"/Users/{scim_id}").json()["userName"] == "zoë"


def test_a_second_account_of_the_same_name_is_a_uniqueness_conflict(server, client):
    created(client, "anna")
    again = client.post("/Users", json=user("ANNA"))
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
    assert len(server.users()) == 1


def test_a_rename_to_a_taken_name_is_a_conflict_and_changes_nothing(server, client):
    created(client, "anna")
    scim_id = created(client, "ben")
    assert client.put(f"/Users/{scim_id}", json=user("anna")).status_code == 409
    assert patched(client, scim_id, op="replace", path="userName", value="anna").status_code == 409
    assert sorted(each["userName"] for each in server.users()) == ["anna", "ben"]


def test_filters_find_by_external_id_and_user_name_and_nobody_else(client):
    created(client, "anna", externalId="x-1")
    created(client, "zoë o'neil", externalId="x-2")
    assert found(client, 'externalId eq "x-1"') == ["anna"]
    assert found(client, 'userName eq "zoë o\'neil"') == ["zoë o'neil"]
    assert found(client, 'externalId eq "x-3"') == []


def test_put_replaces_the_whole_account_and_keeps_id_and_created(server, client):
    scim_id = created(client, "anna", nickName="an")
    before = server.users()[0]["meta"]["created"]
    assert client.put(f"/Users/{scim_id}", json=user("anne")).status_code == 200
    (stored,) = server.users()
    assert (stored["id"], stored["userName"], stored["meta"]["created"]) == (scim_id, "anne", before)
    assert "nickName" not in stored


def test_patch_changes_one_attribute_and_leaves_the_others(server, client):
    scim_id = created(client, "anna", active=True, nickName="an")
    assert patched(client, scim_id, op="replace", path="active", value=False).status_code == 200
    assert (
        patched(client, scim_id, op="replace", path=f"{ENTERPRISE}:department", value="IT").status_code == 200
    )
    (stored,) = server.users()
    assert (stored["active"], stored["nickName"], stored[ENTERPRISE]["department"]) == (False, "an", "IT")
    assert patched(client, scim_id, op="remove", path="nickName").status_code == 200
    assert "nickName" not in server.users()[0]


def test_a_deleted_account_is_gone_and_deleting_it_again_is_404(server, client):
    scim_id = created(client, "anna")
    assert client.delete(f"/Users/{scim_id}").status_code == 204
    assert server.users() == []
    assert client.get(f"/Users/{scim_id}").status_code == 404
    assert client.delete(f"/Users/{scim_id}").status_code == 404
    assert client.put(f"/Users/{scim_id}", json=user("anna")).status_code == 404
    assert server.users() == []


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic dG9rZW46"])
def test_without_the_right_token_nothing_is_told_or_done(server, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    with httpx.Client(base_url=server.base_url, headers=headers) as stranger:
        assert stranger.get("/Users").status_code == 401
        assert stranger.post("/Users", json=user("eve")).status_code == 401
    assert server.users() == []


def test_pages_are_disjoint_and_complete(client):
    names = [f"user-{number:02}" for number in range(25)]
    for name in names:
        created(client, name)
    pages = [client.get("/Users", params={"startIndex": start, "count": 10}).json() for start in (1, 11, 21)]
    assert [each["userName"] for page in pages for each in page["Resources"]] == names
    assert {page["totalResults"] for page in pages} == {25}


def test_requests_are_listed_without_their_query(server, client):
    created(client, "anna")
    found(client, 'userName eq "anna"')
    assert server.requests() == [("POST", "/scim/v2/Users"), ("GET", "/scim/v2/Users")]


def test_deviation_a_page_beyond_the_end_repeats_the_first(client):
    created(client, "anna")
    assert len(client.get("/Users", params={"startIndex": 2, "count": 10}).json()["Resources"]) == 1


def test_deviation_a_name_in_other_letter_case_is_taken_and_yet_not_found(client):
    created(client, "Anna")
    assert client.post("/Users", json=user("anna")).status_code == 409
    assert found(client, 'userName eq "anna"') == []


def test_deviation_a_quote_in_a_filter_value_is_not_understood(client):
    created(client, 'o"neil')
    answer = client.get("/Users", params={"filter": 'userName eq "o\\"neil"'})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")


@pytest.mark.parametrize("operation", ["add", "replace"])
def test_deviation_a_mail_address_cannot_be_patched_into_an_account_without_one(client, operation):
    scim_id = created(client, "anna")
    answer = patched(
        client, scim_id, op=operation, path='emails[type eq "work"].value', value="a@example.org"
    )
    assert (answer.status_code, answer.json()["scimType"]) == (400, "noTarget")


def test_deviation_a_patch_that_changes_nothing_has_no_body(client):
    scim_id = created(client, "anna", active=True)
    answer = patched(client, scim_id, op="replace", path="active", value=True)
    assert (answer.status_code, answer.content) == (204, b"")


def test_deviation_a_filter_that_cannot_be_parsed_is_a_server_error(client):
    assert client.get("/Users", params={"filter": "nonsense"}).status_code == 500

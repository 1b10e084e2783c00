"""The second server behaves as a SCIM server, so that what is proven against it means something."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.scimmy import ScimmyServer, scimmy_server

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "anna", "externalId": "x-1"}


@pytest.fixture
def server() -> Iterator[ScimmyServer]:
    with scimmy_server() as running:
        yield running


def test_users_are_made_found_changed_and_deleted(server):
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/scim+json"}
    with httpx.Client(base_url=server.base_url, headers=headers) as client:
        made = client.post("/Users", json=USER)
        assert made.status_code == 201
        scim_id = made.json()["id"]
        again = client.post("/Users", json={**USER, "userName": "ANNA"})
        assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
        for condition in ('externalId eq "x-1"', 'userName eq "anna"'):
            found = client.get("/Users", params={"filter": condition}).json()
            assert [each["id"] for each in found["Resources"]] == [scim_id]
        operations = [{"op": "replace", "path": "active", "value": False}]
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}
        assert client.patch(f"/Users/{scim_id}", json=body).status_code in {200, 204}
        assert server.users()[0]["active"] is False
        assert client.put(f"/Users/{scim_id}", json={**USER, "userName": "anne"}).status_code == 200
        assert server.users()[0]["userName"] == "anne"
        assert client.delete(f"/Users/{scim_id}").status_code == 204
        assert client.get(f"/Users/{scim_id}").status_code == 404
        assert server.users() == []


def test_a_wrong_token_is_refused(server):
    answer = httpx.get(f"{server.base_url}/Users", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401

"""What one SCIM server has and another has not, by scim2-server in several configurations."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.errors import Superseded
from provisioning.model import Changes
from scim.quirks import NO_PATCH, QuirksInMemory
from tests.support.opened_target import with_target
from tests.support.people import ZOE, held, other
from tests.support.scim_server import ScimServer, scim_server


def update_of(server: ScimServer, **known: Any) -> None:
    async def body(target):
        made = await target.create(ZOE.resource)
        await target.update(made.scim_id, Changes(set={"displayName": "N"}), ZOE.desired, made.version)

    with_target(server.base_url, body, **known)


def test_a_minimal_patch_is_one_request():
    with scim_server() as server:
        update_of(server)
        assert server.asked("PUT") == []
        assert len(server.asked("PATCH")) == 1
        assert len([path for path in server.asked("GET") if path.startswith("/Users")]) == 0


def test_a_server_that_announces_no_patch_is_never_asked_to():
    with scim_server(patch=False) as server:
        update_of(server)
        assert server.asked("PATCH") == []
        assert len(server.asked("PUT")) == 1


def test_what_is_known_of_a_target_is_not_found_out_again():
    with scim_server() as server:
        update_of(server, quirks=QuirksInMemory({NO_PATCH}))
        assert server.asked("PATCH") == []


@pytest.mark.parametrize("method", ["patch", "put"])
def test_an_account_that_changed_meanwhile_is_not_overwritten(method):
    with scim_server() as server:

        async def body(target):
            made = await target.create(ZOE.resource)
            await target.update(made.scim_id, Changes(set={"displayName": "N"}), ZOE.desired, made.version)
            if method == "patch":
                with pytest.raises(Superseded):
                    await target.update(
                        made.scim_id, Changes(set={"displayName": "old"}), ZOE.desired, made.version
                    )

        with_target(server.base_url, body, update_method=method)
        assert held(server, "displayName") == "N"
        writes = [match for verb, _, _, match in server.requests if verb in {"PATCH", "PUT"}]
        assert all(writes), "every write carries the version it was made from"


def test_a_put_carries_the_version_it_was_made_from_though_none_was_remembered():
    with scim_server() as server:

        async def body(target):
            made = await target.create(ZOE.resource)
            await target.update(made.scim_id, Changes(set={"active": False}), None, None)

        with_target(server.base_url, body, update_method="put")
        assert [match for verb, _, _, match in server.requests if verb == "PUT"] == ['W/"1"']


def test_no_version_is_sent_to_a_server_without_etags():
    with scim_server(etag=False) as server:
        update_of(server)
        assert [match for verb, _, _, match in server.requests if verb == "PATCH"] == [None]


def test_a_server_without_filters_is_searched_by_its_listing_and_asked_once_only():
    quirks = QuirksInMemory()
    with scim_server(filters=False) as server:

        async def body(target):
            made = await target.create(ZOE.resource)
            return made.scim_id, [
                each.scim_id for _ in range(2) for each in await target.find("externalId", "5f0c-1")
            ]

        made, found = with_target(server.base_url, body, quirks=quirks)
        assert found == [made, made]
        # And once more, to see that it was not the value.
        assert len([query for _, _, query, _ in server.requests if "filter=" in query]) == 2


def test_pages_are_walked_by_cursor_where_the_server_has_them():
    with scim_server(cursor=True, max_results=3) as server:

        async def body(target):
            for number in range(7):
                await target.create(other(number).resource)
            return [len(page) async for page in target.listing()]

        assert with_target(server.base_url, body) == [3, 3, 1]
        asked = [query for verb, path, query, _ in server.requests if (verb, path) == ("GET", "/Users")]
        assert len(asked) == 3
        assert all("cursor=" in query and "startIndex" not in query for query in asked)

"""One body of expectations for every SCIM server: scim2-server in several configurations, and SCIMMY."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from provisioning.errors import Conflict, Missing, Unauthorized
from provisioning.model import Changes
from tests.support.opened_target import with_target
from tests.support.people import DEPARTMENT, EMAIL, ZOE, Person, held, other
from tests.support.scim_server import ScimServer, scim_server
from tests.support.scimmy import ScimmyServer, scimmy_server

SERVERS: dict[str, dict[str, Any]] = {
    "scim2-server": {},
    "no PATCH": {"patch": False},
    "no filters": {"filters": False},
    "no ETag": {"etag": False},
    "cursors": {"cursor": True, "max_results": 3},
    "small pages": {"max_results": 3},
}


@pytest.fixture(params=[*SERVERS, "SCIMMY"])
def server(request: pytest.FixtureRequest) -> Iterator[ScimServer | ScimmyServer]:
    if request.param == "SCIMMY":
        with scimmy_server() as running:
            yield running
    else:
        with scim_server(**SERVERS[request.param]) as other:
            yield other


def test_a_created_account_holds_what_was_sent_and_is_found_by_each_attribute(server):
    async def body(target):
        made = await target.create(ZOE.resource)
        found = [
            await target.find("externalId", "5f0c-1"),
            await target.find("userName", "zoë o'neil"),
            await target.find("emails.value", "zoe@example.org"),
            await target.find(EMAIL, "zoe@example.org"),
        ]
        read = await target.get(made.scim_id)
        return made, [[each.scim_id for each in accounts] for accounts in found], read

    made, found, read = with_target(server.base_url, body)
    assert found == [[made.scim_id]] * 4
    assert read.external_id == "5f0c-1"
    assert {path: held(server, path) for path in ZOE.attributes} == ZOE.attributes


def test_nobody_is_found_by_what_nobody_has_nor_by_a_part_or_another_case_of_it(server):
    async def body(target):
        await target.create(ZOE.resource)
        return [
            await target.find("externalId", value)
            for value in ("5f0c", "5F0C-1", "", 'x" or externalId pr or externalId eq "')
        ]

    assert with_target(server.base_url, body) == [[], [], [], []]


def test_a_name_with_a_quote_and_a_backslash_is_found(server):
    awkward = ZOE.with_(userName='o"br\\ien')

    async def body(target):
        made = await target.create(awkward.resource)
        return made.scim_id, [each.scim_id for each in await target.find("userName", 'o"br\\ien')]

    made, found = with_target(server.base_url, body)
    assert found == [made]


def test_an_update_changes_what_it_names_and_nothing_else(server):
    after = ZOE.with_(**{"displayName": "Zoë N.", DEPARTMENT: "Sales", EMAIL: "z@example.org"})
    changes = Changes(set={path: after.attributes[path] for path in ("displayName", DEPARTMENT, EMAIL)})

    async def body(target):
        made = await target.create(ZOE.resource)
        await target.update(made.scim_id, changes, after.desired, made.version)

    with_target(server.base_url, body)
    assert {path: held(server, path) for path in after.attributes} == after.attributes
    assert len(server.users()) == 1


def test_an_attribute_the_account_did_not_have_is_added_an_element_of_a_list_too(server):
    before = Person({path: ZOE.attributes[path] for path in ("userName", "externalId", "active")})
    added = {path: value for path, value in ZOE.attributes.items() if path not in before.attributes}

    async def body(target):
        made = await target.create(before.resource)
        await target.update(
            made.scim_id, Changes(set=added, added=frozenset(added)), ZOE.desired, made.version
        )

    with_target(server.base_url, body)
    assert {path: held(server, path) for path in ZOE.attributes} == ZOE.attributes
    assert len(held(server, "emails")) == 1


def test_a_removed_attribute_is_gone_and_so_is_the_element_that_has_nothing_left(server):
    gone = ("name.familyName", EMAIL, DEPARTMENT)
    after = Person({path: value for path, value in ZOE.attributes.items() if path not in gone})

    async def body(target):
        made = await target.create(ZOE.resource)
        await target.update(made.scim_id, Changes(removed=gone), after.desired, made.version)

    with_target(server.base_url, body)
    assert {path: held(server, path) for path in after.attributes} == after.attributes
    assert [held(server, path) for path in ("name.familyName", DEPARTMENT)] == [None, None]
    assert not held(server, "emails")


def test_an_element_that_somebody_else_has_filled_in_as_well_loses_what_is_ours_alone(server):
    """Of an address we map the town; the street is somebody else's. A field that is emptied takes no street with it."""
    town, street, country = (
        f'addresses[type eq "work"].{part}' for part in ("locality", "streetAddress", "country")
    )
    before = ZOE.with_(**{town: "Berlin", country: "DE"})
    theirs = before.with_(**{street: "Allee 1"})

    async def body(target):
        made = await target.create(theirs.resource)
        await target.update(made.scim_id, Changes(removed=(town, country)), ZOE.desired, made.version)

    with_target(server.base_url, body)
    assert held(server, street) == "Allee 1"
    assert (held(server, town), held(server, country)) == (None, None)
    assert {path: held(server, path) for path in ZOE.attributes} == ZOE.attributes


def test_a_deactivation_and_a_reactivation_leave_everything_else_alone(server):
    async def body(target):
        made = await target.create(ZOE.resource)
        await target.update(made.scim_id, Changes(set={"active": False}), None, None)
        blocked = await target.get(made.scim_id)
        await target.update(made.scim_id, Changes(set={"active": True}), None, None)
        return blocked.active, (await target.get(made.scim_id)).active

    assert with_target(server.base_url, body) == (False, True)
    assert {path: held(server, path) for path in ZOE.attributes} == ZOE.attributes


def test_a_taken_name_is_a_conflict_and_makes_no_second_account(server):
    async def body(target):
        await target.create(ZOE.resource)
        with pytest.raises(Conflict):
            await target.create(ZOE.with_(externalId="another").resource)

    with_target(server.base_url, body)
    assert len(server.users()) == 1


def test_an_account_that_is_gone_is_missing_and_deleting_it_again_is_success(server):
    async def body(target):
        made = await target.create(ZOE.resource)
        await target.delete(made.scim_id)
        await target.delete(made.scim_id)
        with pytest.raises(Missing):
            await target.get(made.scim_id)
        with pytest.raises(Missing):
            await target.update(made.scim_id, Changes(set={"active": False}), None, None)

    with_target(server.base_url, body)
    assert server.users() == []


@pytest.mark.parametrize("people", [0, 1, 3, 10])
def test_a_listing_shows_everybody_once(server, people):
    async def body(target):
        made = [(await target.create(other(number).resource)).scim_id for number in range(people)]
        listed = [account.scim_id async for page in target.listing() for account in page]
        return made, listed

    made, listed = with_target(server.base_url, body)
    assert sorted(listed) == sorted(made)


def test_somebody_far_down_the_listing_is_found_there(server):
    async def body(target):
        for number in range(7):
            await target.create(other(number).resource)
        made = await target.create(ZOE.resource)
        return made.scim_id, [each.scim_id for each in await target.find_in_listing("userName", "ZOË O'NEIL")]

    made, found = with_target(server.base_url, body)
    assert found == [made]


@pytest.mark.parametrize("text", ["o'neil", "5f0c-1", "Z” O", "zoe@"])
def test_people_find_an_account_by_any_part_of_what_names_it(server, text):
    async def body(target):
        await target.create(other(1).resource)
        await target.create(ZOE.resource)
        return [each.external_id for each in await target.search(text)]

    assert with_target(server.base_url, body) == ["5f0c-1"]


def test_a_wrong_token_is_told_for_what_it_is(server):
    async def body(target):
        with pytest.raises(Unauthorized):
            await target.probe()

    with_target(server.base_url, body, token="wrong")


def test_the_right_token_and_address_pass_and_the_schemas_are_the_targets(server):
    async def body(target):
        await target.probe()
        return await target.schemas()

    schemas = with_target(server.base_url, body)
    assert schemas.from_target
    assert {"userName", "name.familyName", "emails.value", DEPARTMENT} <= dict(schemas.attributes()).keys()

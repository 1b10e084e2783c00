"""Bulk on real servers, scim2-server and SCIMMY: many users at once, some of whom fail; the accounts that exist count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from provisioning.errors import Conflict, Missing, Superseded
from provisioning.mapping import new_resource
from provisioning.model import Changes, Desired
from tests.support import opened_target
from tests.support.scim_server import ScimServer, scim_server
from tests.support.scimmy import ScimmyServer, scimmy_server

USERS = 120
DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
ENTERPRISE = DEPARTMENT.rpartition(":")[0]


@pytest.fixture(params=["scim2-server", "no ETag", "SCIMMY"])
def server(request: pytest.FixtureRequest) -> Iterator[ScimServer | ScimmyServer]:
    if request.param == "SCIMMY":
        with scimmy_server() as running:
            yield running
    else:
        with scim_server(etag=request.param != "no ETag") as other:
            yield other


def with_target(base_url: str, body: Any) -> Any:
    """With time enough: requests grow while they are answered in a sixth of the timeout."""
    return opened_target.with_target(base_url, body, timeout_seconds=60)


def desired(number: int, **more: Any) -> Desired:
    return Desired(
        {
            "userName": f"user{number}", "externalId": f"x-{number}", "active": True, "displayName": f"Zoë {number}",
            'emails[type eq "work"].value': f"user{number}@example.org", DEPARTMENT: "R&D", **more,
        }
    )  # fmt: skip


async def at_once(works: Iterable[Any]) -> list[Any]:
    return await asyncio.gather(*works, return_exceptions=True)


async def create(target: Any, numbers: Sequence[int]) -> list[Any]:
    return await at_once([target.create(new_resource(desired(number))) for number in numbers])


def kinds(results: Sequence[Any]) -> Counter[str]:
    return Counter(type(each).__name__ for each in results)


def stored(server: Any) -> dict[str, dict[str, Any]]:
    return {account["externalId"]: account for account in server.users()}


def requests(server: Any) -> Counter[tuple[str, str]]:
    """Without ids."""
    asked = server.requests() if callable(server.requests) else [each[:2] for each in server.requests]
    return Counter((verb, "/" + path.split("/v2")[-1].strip("/").split("/")[0]) for verb, path in asked)


def test_users_are_created_updated_deactivated_and_deleted_and_each_account_is_its_own(server):
    async def body(target):
        made = await create(target, range(USERS))
        read = await target.get(made[7].scim_id)
        await at_once(
            target.update(
                account.scim_id, Changes(set={"displayName": f"N {number}"}), desired(number), account.version
            )
            for number, account in enumerate(made)
        )
        await at_once(
            target.update(account.scim_id, Changes(set={"active": False}), None, None)
            for account in made[:60]
        )
        await at_once(target.delete(account.scim_id) for account in made[60:90])
        return made, read

    made, read = with_target(server.base_url, body)
    assert read.external_id == "x-7"
    accounts = stored(server)
    assert len(server.users()) == len(accounts) == 90
    for number in [*range(60), *range(90, USERS)]:
        account = accounts[f"x-{number}"]
        assert (account["id"], account["userName"]) == (made[number].scim_id, f"user{number}")
        assert (account["displayName"], account["active"]) == (f"N {number}", number >= 60)
        assert account["emails"][0]["value"] == f"user{number}@example.org"
        assert account[ENTERPRISE]["department"] == "R&D"
    asked = requests(server)
    assert {verb for (verb, path) in asked if path == "/Users"} == {"GET"}
    assert asked["POST", "/Bulk"] < 40


def test_who_fails_fails_alone_and_for_the_reason_it_would_have_alone(server):
    async def body(target):
        await create(target, range(0, USERS, 10))
        created = await create(target, range(USERS))
        new = {number: each for number, each in enumerate(created) if number % 10}
        updated = await at_once(
            target.update(
                f"gone{number}" if number % 10 == 1 else account.scim_id,
                Changes(set={"displayName": "N"}),
                desired(number),
                None,
            )
            for number, account in new.items()
        )
        deleted = await at_once(
            target.delete(f"gone{number}" if number % 10 == 2 else account.scim_id)
            for number, account in new.items()
        )
        return created, updated, deleted

    created, updated, deleted = with_target(server.base_url, body)
    assert [type(each) is Conflict for each in created] == [number % 10 == 0 for number in range(USERS)]
    assert [type(each) is Missing for each in updated] == [
        number % 10 == 1 for number in range(USERS) if number % 10
    ]
    assert set(deleted) == {None}
    left = {f"x-{number}" for number in range(USERS) if number % 10 in {0, 2}}
    assert stored(server).keys() == left


def test_an_account_that_changed_meanwhile_is_not_overwritten_and_the_others_are():
    with scim_server() as server:

        async def body(target):
            made = await create(target, range(40))
            changed = Changes(set={"displayName": "somebody else's"})
            await at_once(target.update(each.scim_id, changed, None, None) for each in made[::4])
            return await at_once(
                target.update(each.scim_id, Changes(set={"displayName": "N"}), desired(n), each.version)
                for n, each in enumerate(made)
            )

        results = with_target(server.base_url, body)
        assert [type(each) is Superseded for each in results] == [number % 4 == 0 for number in range(40)]
        accounts = stored(server)
        for number in range(40):
            assert accounts[f"x-{number}"]["displayName"] == ("N" if number % 4 else "somebody else's")


def test_the_version_an_update_leaves_is_good_for_the_next_one():
    with scim_server() as server:

        async def body(target):
            made = await create(target, range(10))
            for name in ("A", "B"):
                made = await at_once(
                    target.update(each.scim_id, Changes(set={"displayName": name}), desired(n), each.version)
                    for n, each in enumerate(made)
                )
            return made

        assert kinds(with_target(server.base_url, body)) == {"RemoteUser": 10}
        assert {each["displayName"] for each in server.users()} == {"B"}


def test_accounts_go_by_put_where_the_server_has_no_patch():
    with scim_server(patch=False) as server:

        async def body(target):
            made = await create(target, range(USERS))
            return await at_once(
                target.update(each.scim_id, Changes(set={"displayName": "N"}), desired(n), each.version)
                for n, each in enumerate(made)
            )

        assert kinds(with_target(server.base_url, body)) == {"RemoteUser": USERS}
        assert {each["displayName"] for each in server.users()} == {"N"}
        assert requests(server)["PATCH", "/Users"] == 0

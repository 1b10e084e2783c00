"""Whether accounts are what the mapping of a pipeline makes of its users, written out by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from config.settings import DrupalDatabaseSettings
from drupal.opening import open_reader
from tests.support.pipeline import Pipeline

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def expected(user: dict[str, Any]) -> dict[str, Any]:
    """What the mapping makes of a user, written out by hand. Empty means absent."""
    account = {
        "userName": user["name"],
        "displayName": user["name"],
        "active": True,
        "givenName": user["field_first_name"],
        "familyName": user["field_last_name"],
        "mail": user["mail"].lower() if user["mail"] else None,
        "department": user["field_department"],
        "userType": "staff" if "editor" in user["roles"] else "member",
        "title": ", ".join(user["field_interests"]) or None,
        "entitlements": sorted(user["field_interests"]) or None,
        "employeeNumber": str(user["uid"]),
    }
    return {name: value for name, value in account.items() if value is not None}


def shown(account: dict[str, Any]) -> dict[str, Any]:
    name = account.get("name") or {}
    mails = [each["value"] for each in account.get("emails") or [] if each.get("type") == "work"]
    assert len(mails) <= 1
    enterprise = account.get(ENTERPRISE) or {}
    found = {
        "userName": account["userName"],
        "displayName": account.get("displayName"),
        "active": account.get("active"),
        "givenName": name.get("givenName"),
        "familyName": name.get("familyName"),
        "mail": mails[0] if mails else None,
        "department": enterprise.get("department"),
        "userType": account.get("userType"),
        "title": account.get("title"),
        "entitlements": sorted(each["value"] for each in account.get("entitlements") or ()) or None,
        "employeeNumber": enterprise.get("employeeNumber"),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def site_users(world: Pipeline) -> dict[str, dict[str, Any]]:
    """Every user of the site as the rows have it, read without the reader."""
    url = next(
        line.split('"')[1]
        for line in (world.folder / "scimpipe.toml").read_text().splitlines()
        if line.startswith("url")
    )
    names = frozenset({"field_first_name", "field_last_name", "field_department", "field_interests"})

    async def read() -> dict[str, dict[str, Any]]:
        reader = open_reader(DrupalDatabaseSettings(url=url), names)
        try:
            return {user.uuid: dict(user.values) async for page in reader.scan() for user in page}
        finally:
            await reader.close()

    return asyncio.run(read())


def assert_in_step(world: Pipeline) -> None:
    """Exactly one account for each user in scope, none for anybody else but those who were deactivated."""
    users = {
        uuid: user
        for uuid, user in site_users(world).items()
        if user["status"] and "left" not in user["roles"]
    }
    accounts = world.accounts("main")
    active = {uuid: account for uuid, account in accounts.items() if account["active"]}
    assert set(active) == set(users)
    for uuid, user in users.items():
        assert shown(active[uuid]) == expected(user), uuid


def assert_in_step_of(world: Pipeline, uuid: str) -> None:
    assert shown(world.accounts("main")[uuid]) == expected(site_users(world)[uuid])

"""The dumps of a real Drupal 10.5.9, read as Drupal made them (FACTS)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from config.settings import DrupalDatabaseSettings
from drupal.database import DatabaseReader
from provisioning.model import SourceUser
from tests.support.databases import KINDS, fresh_database
from tests.support.site_fixture import CAPTURED_FIELDS, captured_users, load_captured


@pytest.fixture(params=KINDS, scope="module")
def captured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """(kind, URL) of the captured site."""
    with fresh_database(request.param, tmp_path_factory.mktemp("captured")) as url:
        load_captured(request.param, url)
        yield request.param, url


def scanned(url: str, names: frozenset[str] = CAPTURED_FIELDS) -> list[SourceUser]:
    async def run() -> list[SourceUser]:
        reader = DatabaseReader(DrupalDatabaseSettings(url=url), names)
        try:
            return [user async for page in reader.scan() for user in page]
        finally:
            await reader.close()

    return asyncio.run(run())


def asked(url: str, method: str, *arguments: Any) -> Any:
    async def run() -> Any:
        reader = DatabaseReader(DrupalDatabaseSettings(url=url), CAPTURED_FIELDS)
        try:
            return await getattr(reader, method)(*arguments)
        finally:
            await reader.close()

    return asyncio.run(run())


def test_all_125_users_are_read_attribute_by_attribute_and_nobody_else(captured: tuple[str, str]) -> None:
    kind, url = captured
    expected = captured_users(kind)

    users = scanned(url)

    assert [user.uid for user in users] == list(range(1, 126)) == list(expected)
    for user in users:
        wanted, given = dict(expected[user.uid].values), dict(user.values)
        if kind == "mariadb" and user.uid <= 5:
            # The accounts that asked: created on the two sites at different moments.
            for name in ("created", "changed", "access", "login"):
                wanted.pop(name)
                given.pop(name)
        assert given == wanted
        assert user.uuid == expected[user.uid].uuid


def test_users_are_as_json_api_showed_them(captured: tuple[str, str]) -> None:
    """Captures 046 and 047, in their own words; the times are 2023-11-14T23:13:20+00:00 and so on."""
    users = {user.uid: user.values for user in scanned(captured[1])}

    own = ("uid", "uuid", "roles", "access", "login")
    assert {name: value for name, value in users[6].items() if name not in own} == {
        "name": "member001",
        "mail": "member001@example.test",
        "timezone": "Europe/Berlin",
        "langcode": "en",
        "status": True,
        "created": 1700003600,
        "changed": 1700007200,
        "field_department": "Youth",
        "field_first_name": "Ben",
        "field_last_name": "Becker",
        "field_interests": ["Chess"],
    }
    assert users[6]["roles"] == []
    assert users[12]["status"] is False
    assert users[12]["field_interests"] == ["Chess", "Rowing"]
    assert (users[12]["created"], users[12]["changed"]) == (1700025200, 1700050400)


def test_empty_fields_are_none_or_an_empty_list(captured: tuple[str, str]) -> None:
    """A NULL field has no row (FACTS "Tables"); the administrator has none at all."""
    admin = scanned(captured[1])[0].values

    assert admin["name"] == "admin"
    assert [admin[name] for name in sorted(CAPTURED_FIELDS)] == [None, None, [], None]


def test_names_beyond_ascii_arrive_whole(captured: tuple[str, str]) -> None:
    users = {user.uid: user.values for user in scanned(captured[1])}

    assert (users[125]["name"], users[125]["mail"]) == ("山田 太郎", None)
    assert users[65]["name"] == "Ünal Şahin"
    assert "Fußball" in users[14]["field_interests"]


def test_verify_counts_people_on_the_right_kind_of_database(captured: tuple[str, str]) -> None:
    kind, url = captured

    assert asked(url, "verify") == f"Drupal database on {kind}, 125 users"


def test_several_values_are_told_from_the_rows_where_there_is_no_configuration(
    captured: tuple[str, str],
) -> None:
    """The dumps have no `config`: field_interests is several-valued because somebody has two."""
    fields = {field.name: field for field in asked(captured[1], "fields")}

    assert {name for name in fields if name.startswith("field_")} == CAPTURED_FIELDS
    assert {name for name, field in fields.items() if field.multiple} == {"roles", "field_interests"}


def test_search_finds_by_name_beyond_ascii_and_without_case(captured: tuple[str, str]) -> None:
    found = asked(captured[1], "search", "ÜNAL ŞAHIN")

    assert [user.uid for user in found][:1] == [65]


def test_a_listing_goes_on_by_uid_over_its_pages(captured: tuple[str, str]) -> None:
    async def run() -> list[int]:
        reader = DatabaseReader(DrupalDatabaseSettings(url=captured[1]), frozenset())
        try:
            return [ref.uid async for page in reader.ids(100) for ref in page]
        finally:
            await reader.close()

    assert asyncio.run(run()) == list(range(101, 126))


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_translated_as_drupal_did_it_is_read_once_in_the_own_language(
    kind: str, tmp_path: Path
) -> None:
    """translated-user.txt: two rows in users_field_data, a second one in the field, roles in the own language only."""
    with fresh_database(kind, tmp_path) as url:
        load_captured(kind, url)
        before = scanned(url)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO users_field_data SELECT uid, 'de', preferred_langcode, preferred_admin_langcode, name, pass,"
                    " mail, timezone, status, created, 1795462322, access, login, init, 0 FROM users_field_data WHERE uid = 11"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO user__field_department (bundle, deleted, entity_id, revision_id, langcode, delta,"
                    " field_department_value) VALUES ('user', 0, 11, 11, 'de', 0, 'Jugend')"
                )
            )
        engine.dispose()

        assert scanned(url) == before
        assert asked(url, "changed_since", 1795462322) == []

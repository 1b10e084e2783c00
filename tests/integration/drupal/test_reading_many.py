"""Users asked for many at a time, as workers do: between the first and the last of them, or one by one; as JSON, or by rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import create_engine, literal_column, select

from cli.demo.rows import Person
from cli.demo.site import DrupalSite
from config.settings import DrupalDatabaseSettings
from drupal import database_rows
from drupal.database import DatabaseReader
from provisioning.errors import SourceUnreadable
from provisioning.model import SourceUser
from tests.support.databases import KINDS, execute, fresh_database

# Their uids rise by one. Uuids sort the other way round.
USERS = [f"0f000000-0000-4000-8000-{1000 - number:012d}" for number in range(40)]
GONE = "0f000000-0000-4000-8000-00000000ffff"


@pytest.fixture(params=KINDS)
def url(request, tmp_path: Path):
    with fresh_database(request.param, tmp_path) as url:
        site = DrupalSite.create(url)
        site.add_people(
            Person(
                uuid,
                f"user{n}",
                f"{n}@example.test",
                "Zoë",
                f"N {n}",
                "Ops",
                ("Chess", "Choir"),
                None,
                ("editor",),
            )
            for n, uuid in enumerate(USERS)
        )
        yield url
        site.close()


def read(url: str, ids: Sequence[str]) -> dict[str, SourceUser]:
    names = frozenset({"name", "mail", "roles", "field_first_name", "field_interests", "login"})

    async def run() -> dict[str, SourceUser]:
        reader = DatabaseReader(DrupalDatabaseSettings(url=url), names)
        try:
            return dict(await reader.read(ids))
        finally:
            await reader.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "ids",
    [
        USERS,
        USERS[::-1],
        USERS[10:20],
        USERS[:20:2],
        [USERS[0], *USERS[5:14], USERS[1]],
        [*USERS[3:12], GONE],
        [GONE, *USERS[3:12]],
        [*USERS[3:7], GONE, *USERS[7:12]],
        [USERS[2], *USERS[:10], USERS[2]],
        [uuid.upper() for uuid in USERS[:10]],
        [USERS[0], *(f"no uuid {n}" for n in range(10)), USERS[39]],
        USERS[:3],
    ],
    ids=["all", "backwards", "some", "every other", "not by uid", "last gone", "first gone", "one gone", "twice", "capitals", "far apart", "few"],
)  # fmt: skip
def test_those_are_found_who_were_asked_for_whatever_their_order(url, ids):
    known = {uuid: number for number, uuid in enumerate(USERS)}
    found = read(url, ids)
    asked = {uuid for uuid in ids if uuid.lower() in known}
    assert found.keys() == asked
    for uuid, user in found.items():
        number = known[uuid.lower()]
        assert (user.uuid, user.values["name"], user.values["field_first_name"]) == (
            USERS[number],
            f"user{number}",
            "Zoë",
        )
        assert (user.values["roles"], user.values["field_interests"]) == (["editor"], ["Chess", "Choir"])


@pytest.mark.parametrize(
    "value",
    ["x'c3a9'", "0.1234567890123456789", "9007199254740993", "'a' || char(0) || '\"\\ é'", "NULL", "1e999"],
)
def test_whatever_sqlite_holds_is_read_as_it_is(value):
    """Any column of SQLite's holds anything."""
    statement = select(literal_column(value).label("a"), literal_column("7").label("b"))
    with create_engine("sqlite://").connect() as connection:
        ((found, seven),) = database_rows.all_rows(connection, statement, {})
        ((held, _),) = connection.execute(statement).all()
    assert (found, type(found), seven) == (held, type(held), 7)


def test_users_with_a_blob_in_a_field_are_read_like_any_other(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as url:
        site = DrupalSite.create(url)
        site.add_people(
            Person(uuid, f"user{n}", "m", "A", "B", "C", ("x", "y"), None, ()) for n, uuid in enumerate(USERS)
        )
        site.close()
        execute(url, "UPDATE user__field_first_name SET field_first_name_value = x'42' WHERE entity_id = 5")
        found = read(url, USERS)
    assert [user.values["field_first_name"] for user in found.values() if user.uid == 5] == ["B"]
    assert {user.values["field_first_name"] for user in found.values() if user.uid != 5} == {"A"}


@pytest.mark.parametrize("other_mail", ["'m'", "x'42'"], ids=["as JSON", "by rows"])
def test_a_text_that_is_none_is_told_as_a_source_that_cannot_be_read(tmp_path: Path, other_mail: str) -> None:
    """By a worker and by a scan."""
    with fresh_database("sqlite", tmp_path) as url:
        site = DrupalSite.create(url)
        site.add_people(
            Person(uuid, f"user{n}", "m", "A", "B", "C", (), None, ()) for n, uuid in enumerate(USERS)
        )
        site.close()
        execute(
            url,
            "UPDATE users_field_data SET mail = CAST(x'ff41' AS TEXT) WHERE uid = 20",
            f"UPDATE users_field_data SET mail = {other_mail} WHERE uid = 10",
        )

        async def run(scanning: bool) -> None:
            reader = DatabaseReader(DrupalDatabaseSettings(url=url), frozenset({"name"}))
            try:
                if scanning:
                    async for _ in reader.scan():
                        pass
                else:
                    await reader.read(USERS)
            finally:
                await reader.close()

        for scanning in (False, True):
            with pytest.raises(SourceUnreadable):
                asyncio.run(run(scanning))

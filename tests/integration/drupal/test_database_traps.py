"""Each trap of FACTS "Tables" on each kind of database, and what a careful reader adds to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from cli.demo.site import DrupalSite
from cli.demo.tables import php_serialize
from config.settings import DrupalDatabaseSettings
from drupal import database
from drupal.database import DatabaseReader
from drupal.database_engine import open_engine
from provisioning.errors import SourceUnreadable
from provisioning.model import SourceUser
from tests.support.databases import KINDS, execute, fresh_database
from tests.support.site_fixture import TRAP_FIELDS, TRAP_USERS, trap_site

ZOE = TRAP_USERS[1].uuid
pytestmark = pytest.mark.parametrize("kind", KINDS)


def ask(url: str, question: Callable[[DatabaseReader], Awaitable[Any]], **options: Any) -> Any:
    names = options.pop("names", TRAP_FIELDS)

    async def run() -> Any:
        reader = DatabaseReader(DrupalDatabaseSettings(url=url, **options), names)
        try:
            return await question(reader)
        finally:
            await reader.close()

    return asyncio.run(run())


async def scanned(reader: DatabaseReader) -> list[SourceUser]:
    return [user async for page in reader.scan() for user in page]


def test_rows_marked_deleted_are_not_read(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(
            url,
            "UPDATE user__field_interests SET deleted = 1 WHERE entity_id = 2 AND delta = 1",
            "UPDATE user__field_department SET deleted = 1 WHERE entity_id = 2",
            "UPDATE user__roles SET deleted = 1 WHERE entity_id = 2 AND roles_target_id = 'editor'",
        )

        values = ask(url, lambda reader: reader.read([ZOE]))[ZOE].values

    assert values["field_interests"] == ["Chess", "Choir"]
    assert values["field_department"] is None
    assert values["roles"] == ["member"]


def test_values_come_in_the_order_of_delta_whatever_the_order_of_rows(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(
            url,
            "CREATE TABLE shuffled AS SELECT * FROM user__field_interests ORDER BY delta DESC",
            "DROP TABLE user__field_interests",
            "ALTER TABLE shuffled RENAME TO user__field_interests",
        )

        values = ask(url, lambda reader: reader.read([ZOE]))[ZOE].values

    assert values["field_interests"] == ["Chess", "Rowing", "Choir"]


def test_a_field_that_is_empty_in_the_own_language_stays_empty(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        site.translate(TRAP_USERS[2].uuid, "de", department="Nur auf Deutsch")

        values = ask(url, lambda reader: reader.read([TRAP_USERS[2].uuid]))[TRAP_USERS[2].uuid].values

    assert values["field_department"] is None


def test_times_that_are_null_are_never(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(url, "UPDATE users_field_data SET changed = NULL, login = NULL, status = NULL WHERE uid = 2")

        values = ask(url, lambda reader: reader.read([ZOE]))[ZOE].values
        refs = ask(url, lambda reader: reader.changed_since(0))

    assert (values["changed"], values["login"], values["status"]) == (0, 0, False)
    assert (refs[0].uid, refs[0].changed) == (2, 0)


def test_an_empty_mail_is_no_mail(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(url, "UPDATE users_field_data SET mail = '', timezone = '' WHERE uid = 2")

        values = ask(url, lambda reader: reader.read([ZOE]))[ZOE].values

    assert (values["mail"], values["timezone"]) == (None, None)


def test_a_table_prefix_is_the_sites_own(kind: str, tmp_path: Path) -> None:
    """On SQLite it is part of the file's name: Drupal attaches <file>-<prefix>."""
    with trap_site(kind, tmp_path, prefix="drp_") as (url, _):
        assert ask(url, scanned, table_prefix="drp_") == list(TRAP_USERS)

        with pytest.raises(SourceUnreadable) as raised:
            ask(url, scanned)

    assert ('table_prefix = "drp_"' if kind != "sqlite" else "there is no such file") in raised.value.detail


def test_a_site_emptied_of_its_users_is_unreadable_by_every_way(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(url, "DELETE FROM users WHERE uid > 0", "DELETE FROM users_field_data WHERE uid > 0")
        questions: Sequence[Callable[[DatabaseReader], Awaitable[Any]]] = (
            lambda reader: reader.verify(),
            lambda reader: reader.read([ZOE]),
            lambda reader: reader.present([ZOE]),
            scanned,
            lambda reader: anext(reader.ids()),
        )

        for question in questions:
            with pytest.raises(SourceUnreadable, match="no user at all"):
                ask(url, question)


def test_a_user_without_a_row_in_the_own_language_is_damaged_and_not_gone(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        execute(url, "UPDATE users_field_data SET default_langcode = 0 WHERE uid = 2")

        with pytest.raises(SourceUnreadable, match="user 2 "):
            ask(url, lambda reader: reader.read([ZOE]))
        assert ask(url, lambda reader: reader.present([ZOE, ZOE.upper()])) == {ZOE, ZOE.upper()}


def test_two_rows_in_the_own_language_are_read_and_break_nothing(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        site.translate(ZOE, "de", department="Auch")
        execute(url, "UPDATE users_field_data SET default_langcode = 1 WHERE uid = 2")

        users = ask(url, scanned)

    assert [user.uid for user in users] == [1, 2, 2, 3, 5, 6, 7]


def test_a_site_larger_than_a_page_is_read_whole(kind: str, tmp_path: Path) -> None:
    count = database.SCAN_PAGE + 30
    assert count > 2 * database.READ_BATCH, "several batches too"

    async def pages(reader: DatabaseReader) -> list[list[SourceUser]]:
        return [list(page) async for page in reader.scan()]

    with fresh_database(kind, tmp_path) as url:
        site = DrupalSite.create(url)
        site.populate(count)
        uuids = [user.uuid for user in site.users()]
        site.close()

        users = ask(url, pages, names=frozenset({"field_interests"}))
        read = ask(url, lambda reader: reader.read([*uuids, *uuids[:3]]), names=frozenset())

    assert [len(page) for page in users] == [database.SCAN_PAGE, 30]
    assert [user.uid for page in users for user in page] == list(range(1, count + 1))
    assert sorted(read) == sorted(uuids)


def test_a_query_that_fails_in_mid_scan_is_told_and_never_ends_the_listing(kind: str, tmp_path: Path) -> None:
    seen: list[int] = []

    async def scan_and_break(reader: DatabaseReader, url: str) -> None:
        async for page in reader.scan():
            seen.append(len(page))
            if len(seen) == 1:
                execute(url, "ALTER TABLE user__field_interests RENAME TO lost")

    with fresh_database(kind, tmp_path) as url:
        site = DrupalSite.create(url)
        site.populate(2 * database.SCAN_PAGE + 30)
        site.close()

        with pytest.raises(SourceUnreadable):
            ask(url, lambda reader: scan_and_break(reader, url), names=frozenset({"field_interests"}))

    # The second page may have been read before it happened.
    assert seen in ([database.SCAN_PAGE], [database.SCAN_PAGE] * 2)


def test_nothing_can_be_written_through_the_readers_sessions(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        engine: Engine = open_engine(DrupalDatabaseSettings(url=url), 1)
        for statement in ("UPDATE users_field_data SET status = 0", "DELETE FROM user__roles"):
            with pytest.raises(DBAPIError), engine.begin() as connection:
                connection.execute(text(statement))
        engine.dispose()

        assert ask(url, scanned) == list(TRAP_USERS)


def test_a_user_is_never_seen_half_saved(kind: str, tmp_path: Path) -> None:
    """All queries of one page see one moment, also when Drupal saves between them."""
    with trap_site(kind, tmp_path) as (url, site):
        engine = open_engine(DrupalDatabaseSettings(url=url), 1)
        department = text(
            "SELECT field_department_value FROM user__field_department WHERE entity_id = 2 AND langcode = 'en'"
        )
        with engine.begin() as connection:
            first = connection.execute(department).scalar_one()
            site.edit(ZOE, department="Finance")
            second = connection.execute(department).scalar_one()
        with engine.begin() as connection:
            after = connection.execute(department).scalar_one()
        engine.dispose()

    assert (first, second, after) == ("Youth", "Youth", "Finance")


def test_configuration_says_what_rows_cannot(kind: str, tmp_path: Path) -> None:
    """Several-valued though nobody has two; a boolean; a decimal with its zeros."""
    with trap_site(kind, tmp_path) as (url, _):
        execute(url, "DELETE FROM user__field_interests WHERE delta > 0")
        _make_field(url, "field_member", "SMALLINT", {"type": "boolean", "cardinality": 1}, 1)
        scale = {"type": "decimal", "cardinality": 1, "settings": {"precision": 10, "scale": 2}}
        _make_field(url, "field_fee", "NUMERIC(10, 2)", scale, 12.5)

        names = frozenset({"field_interests", "field_member", "field_fee"})
        users = ask(url, lambda reader: reader.read([ZOE, TRAP_USERS[0].uuid]), names=names)
        fields = {field.name: field for field in ask(url, lambda reader: reader.fields())}

    assert users[ZOE].values["field_interests"] == ["Chess"]
    assert users[ZOE].values["field_member"] is True
    assert users[ZOE].values["field_fee"] == "12.50"
    admin = users[TRAP_USERS[0].uuid].values
    assert (admin["field_interests"], admin["field_member"]) == ([], None)
    assert fields["field_interests"].multiple


def test_without_configuration_the_rows_decide_also_when_they_change_their_mind(
    kind: str, tmp_path: Path
) -> None:
    async def before_and_after(reader: DatabaseReader, site: DrupalSite) -> tuple[Any, Any]:
        before = (await reader.read([ZOE]))[ZOE].values["field_interests"]
        site.edit(ZOE, interests=("Chess", "Go"))
        return before, (await reader.read([ZOE]))[ZOE].values["field_interests"]

    with trap_site(kind, tmp_path) as (url, site):
        execute(url, "DROP TABLE config", "DELETE FROM user__field_interests WHERE delta > 0")

        assert ask(url, lambda reader: before_and_after(reader, site)) == ("Chess", ["Chess", "Go"])


def test_after_an_error_the_fields_are_looked_at_again(kind: str, tmp_path: Path) -> None:
    """A field that was deleted and made anew in Drupal, for one value this time."""

    async def before_and_after(reader: DatabaseReader, url: str) -> Any:
        assert (await reader.read([ZOE]))[ZOE].values["field_interests"] == ["Chess", "Rowing", "Choir"]
        execute(url, "ALTER TABLE user__field_interests RENAME TO old", "DROP TABLE config")
        with pytest.raises(SourceUnreadable):
            await reader.read([ZOE])
        execute(url, "DELETE FROM old WHERE delta > 0", "ALTER TABLE old RENAME TO user__field_interests")
        return (await reader.read([ZOE]))[ZOE].values["field_interests"]

    with trap_site(kind, tmp_path) as (url, _):
        assert ask(url, lambda reader: before_and_after(reader, url)) == "Chess"


def _make_field(url: str, field: str, column: str, storage: dict[str, Any], value: Any) -> None:
    """A field table as Drupal makes it, its configuration, and a value for user 2."""
    execute(
        url,
        f"CREATE TABLE user__{field} (bundle VARCHAR(128), deleted SMALLINT, entity_id INTEGER, revision_id INTEGER,"
        f" langcode VARCHAR(32), delta INTEGER, {field}_value {column})",
    )
    execute(url, f"INSERT INTO user__{field} VALUES ('user', 0, 2, 2, 'en', 0, :value)", value=value)
    execute(
        url,
        "INSERT INTO config (collection, name, data) VALUES ('', :name, :data)",
        name=f"field.storage.user.{field}",
        data=php_serialize(storage),
    )

"""The Drupal-shaped site does to its tables what a Drupal does (hooks-observed.txt, FACTS "changed")."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import IntegrityError

from cli.demo.site import DrupalSite
from config.settings import DrupalDatabaseSettings
from drupal.database import DatabaseReader
from provisioning.model import SourceUser
from tests.support.databases import KINDS, fresh_database
from tests.support.site_fixture import TRAP_FIELDS, TRAP_USERS, Ticks, load_captured, trap_site

pytestmark = pytest.mark.parametrize("kind", KINDS)
ZOE = TRAP_USERS[1].uuid


def read(url: str) -> dict[str, SourceUser]:
    async def run() -> dict[str, SourceUser]:
        reader = DatabaseReader(DrupalDatabaseSettings(url=url), TRAP_FIELDS)
        try:
            return {user.uuid: user async for page in reader.scan() for user in page}
        finally:
            await reader.close()

    return asyncio.run(run())


def changed(site: DrupalSite, uuid: str) -> int:
    return next(user.changed for user in site.users() if user.uuid == uuid)


def test_the_tables_have_the_columns_a_real_drupal_gave_them(kind: str, tmp_path: Path) -> None:
    def columns(url: str) -> dict[str, dict[str, bool]]:
        engine = create_engine(url)
        inspector = inspect(engine)
        tables = set(inspector.get_table_names()) - {
            "users_data",
            "user__user_picture",
            "config",
            "user__field_homepage",
        }
        found = {
            table: {each["name"]: bool(each["nullable"]) for each in inspector.get_columns(table)}
            for table in tables
        }
        engine.dispose()
        return found

    with fresh_database(kind, tmp_path) as real, fresh_database(kind, tmp_path) as made:
        load_captured(kind, real)
        DrupalSite.create(made).close()

        if kind == "sqlite":
            # SQLite calls the alias of the row id nullable or not by how it is written.
            shown, wanted = columns(made), columns(real)
            assert {t: set(c) for t, c in shown.items()} == {t: set(c) for t, c in wanted.items()}
        else:
            assert columns(made) == columns(real)


EDITS: tuple[dict[str, Any], ...] = (
    {"name": "renamed"},
    {"mail": None},
    {"roles": ("member",)},
    {"field_department": "Finance"},
    {"field_interests": ()},
    {"field_homepage": None},
    {"status": False},
    {},
)


def test_an_edit_moves_changed_and_nothing_but_what_was_edited(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        for edit in EDITS:
            before = read(url)
            site.edit(ZOE, **{name.removeprefix("field_"): value for name, value in edit.items()})
            after = read(url)

            old, new = before.pop(ZOE), after.pop(ZOE)
            different = {name for name, value in new.values.items() if value != old.values[name]}
            assert different == {*edit, "changed"}
            assert new.changed > old.changed
            assert before == after


def test_blocking_and_unblocking_are_edits_of_the_status(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        site.block(ZOE)
        blocked = read(url)[ZOE]
        site.unblock(ZOE)
        unblocked = read(url)[ZOE]

    assert (blocked.active, unblocked.active) == (False, True)
    assert TRAP_USERS[1].changed < blocked.changed < unblocked.changed


def test_a_deleted_user_leaves_no_trace_and_the_name_is_free_again(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        site.delete(ZOE)
        gone = read(url)
        again = site.add_user("Zoë Ångström", "zoe@example.test")
        user = read(url)[again]

        with pytest.raises(KeyError):
            site.edit(ZOE, mail=None)

    assert ZOE not in gone
    assert user.uid == 8
    assert (user.values["roles"], user.values["field_interests"]) == ([], [])


def test_the_deletion_of_a_role_moves_nobodys_changed(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        site.delete_role("member")
        users = read(url)

    assert users[ZOE].values["roles"] == ["editor"]
    assert users[ZOE].changed == TRAP_USERS[1].changed


def test_an_action_that_fails_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, site):
        before = read(url)
        with pytest.raises(IntegrityError):
            site.add_user("Zoë Ångström", None, department="Nowhere")

        assert read(url) == before


def test_changed_is_the_time_of_the_clock(kind: str, tmp_path: Path) -> None:
    with fresh_database(kind, tmp_path) as url:
        site = DrupalSite.create(url, clock=Ticks(1_800_000_000))
        uuid = site.add_user("a", None)
        site.edit(uuid)
        assert changed(site, uuid) == 1_800_000_004
        site.close()


def test_the_demo_population_is_varied_and_the_same_each_time(kind: str, tmp_path: Path) -> None:
    with fresh_database(kind, tmp_path) as url:
        site = DrupalSite.create(url, clock=lambda: 1_800_000_000.0)
        site.populate(50)
        site.close()
        users = list(read(url).values())

    values = [user.values for user in users]
    assert [user.uid for user in users] == list(range(1, 51))
    assert len({user.values["name"] for user in users}) == 50
    assert users[12].uuid == "32fc6047-064c-5b38-9f33-c69a7a9c7c86"
    assert any(each["mail"] is None for each in values)
    assert any(not each["status"] for each in values)
    assert any(len(each["field_interests"]) > 2 for each in values)
    assert any(each["field_first_name"] is None and each["field_department"] is None for each in values[1:])
    assert any("'" in (each["field_last_name"] or "") for each in values)
    assert any('"' in (each["field_last_name"] or "") for each in values)
    assert any(not (each["field_first_name"] or "").isascii() for each in values)
    assert any(each["roles"] == ["editor", "member"] for each in values)

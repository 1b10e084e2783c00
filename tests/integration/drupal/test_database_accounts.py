"""The accounts that Drupal's database is read by: the least they need, and what is told of those that have less."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from config.settings import DrupalDatabaseSettings, Secret
from drupal.database import DatabaseReader
from provisioning.errors import SourceUnreadable
from tests.support.databases import administrator, require, server_url
from tests.support.site_fixture import TRAP_USERS, trap_site
from tests.support.unreadable import CANARY, SERVERS, database_of, told

READABLE = ("users", "users_field_data", "user__roles")


@contextmanager
def account(kind: str, database: str, folder: Path, *grants: str) -> Iterator[tuple[str, Path]]:
    """A database account with a password: (URL without it, file that holds it)."""
    name, here = f"scimpipe_{database[-8:]}", "@'127.0.0.1'" if kind == "mariadb" else ""
    file = folder / "password"
    file.write_text(f"{CANARY}\n")
    made = f"IDENTIFIED BY '{CANARY}'" if kind == "mariadb" else f"LOGIN PASSWORD '{CANARY}'"
    with administrator(kind, database) as server:
        server.execute(text(f"CREATE USER {name}{here} {made}"))
        try:
            for grant in grants:
                server.execute(text(f"GRANT {grant} TO {name}{here}"))
            yield (
                server_url(kind).set(username=name, password=None, database=database).render_as_string(),
                file,
            )
        finally:
            if kind == "postgresql":
                server.execute(text(f"DROP OWNED BY {name}"))
            server.execute(text(f"DROP USER {name}{here}"))


@pytest.mark.parametrize("kind", SERVERS)
def test_an_account_that_may_only_read_is_enough(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        grants = [f"SELECT ON {table}" for table in (*READABLE, "user__field_department", "config")]
        with account(kind, database_of(url), tmp_path, *grants) as (restricted, password):

            async def run() -> list[str]:
                settings = DrupalDatabaseSettings(url=restricted, password=Secret(file=password))
                reader = DatabaseReader(settings, frozenset({"field_department"}))
                names = [user.values["name"] async for page in reader.scan() for user in page]
                listed = [field.name for field in await reader.fields() if field.name.startswith("field_")]
                await reader.close()
                return names + listed

            shown = asyncio.run(run())

    assert shown == [*(user.values["name"] for user in TRAP_USERS), "field_department"]


@pytest.mark.parametrize("kind", SERVERS)
def test_without_a_right_on_config_the_rows_decide(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        grants = [f"SELECT ON {table}" for table in (*READABLE, "user__field_interests")]
        with account(kind, database_of(url), tmp_path, *grants) as (restricted, password):

            async def run() -> object:
                settings = DrupalDatabaseSettings(url=restricted, password=Secret(file=password))
                reader = DatabaseReader(settings, frozenset({"field_interests"}))
                users = await reader.read([TRAP_USERS[1].uuid])
                await reader.close()
                return users[TRAP_USERS[1].uuid].values["field_interests"]

            assert asyncio.run(run()) == ["Chess", "Rowing", "Choir"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_missing_right_says_what_to_grant(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        database = database_of(url)
        grants = [f"SELECT ON {table}" for table in READABLE]
        if kind == "mariadb":
            # MariaDB shows no table without a right on it: as good as absent.
            grants.append("INSERT ON user__field_department")
        with account(kind, database, tmp_path, *grants) as (restricted, password):
            detail = told(restricted, password=password, fields=frozenset({"field_department"}))

    assert "grant it SELECT on users" in detail
    assert database in detail


def test_a_wrong_password_names_the_account_and_the_setting(tmp_path: Path) -> None:
    """On MariaDB; the PostgreSQL of the tests trusts everybody, its words are in the unit tests."""
    with (
        trap_site("mariadb", tmp_path) as (url, _),
        account("mariadb", database_of(url), tmp_path) as (own, password),
    ):
        password.write_text(f"{CANARY}-wrong")

        detail = told(own, password=password)

    assert "refuses the account scimpipe_" in detail
    assert "drupal.password" in detail


@pytest.mark.parametrize("kind", SERVERS)
def test_an_unknown_account_is_refused(kind: str, tmp_path: Path) -> None:
    require(kind)
    url = server_url(kind).set(username="nobody_knows_me", database="x").render_as_string()

    assert "refuses the account nobody_knows_me" in told(url)


def test_a_secret_that_is_not_there_is_told_by_its_place(tmp_path: Path) -> None:
    require("mariadb")
    url = server_url("mariadb").set(database="site").render_as_string(hide_password=False)

    assert "drupal.password: file" in told(url, password=tmp_path / "nowhere")


def test_a_password_that_was_changed_needs_no_restart(tmp_path: Path) -> None:
    with trap_site("mariadb", tmp_path) as (url, _):
        grants = [f"SELECT ON {table}" for table in READABLE]
        with account("mariadb", database_of(url), tmp_path, *grants) as (own, password):

            async def run() -> str:
                password.write_text("wrong")
                settings = DrupalDatabaseSettings(url=own, password=Secret(file=password))
                reader = DatabaseReader(settings, frozenset())
                try:
                    with pytest.raises(SourceUnreadable):
                        await reader.verify()
                    password.write_text(CANARY)
                    return await reader.verify()
                finally:
                    await reader.close()

            assert asyncio.run(run()) == "Drupal database on mariadb, 6 users"

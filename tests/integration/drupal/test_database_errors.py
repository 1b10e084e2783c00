"""What a person is told when Drupal's database cannot be read: what is wrong, where, what to do; never a value."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import make_url, text

from config.settings import DrupalDatabaseSettings, Secret
from drupal import database, database_engine
from drupal.database import CONNECTIONS, DatabaseReader
from drupal.database_engine import open_engine
from provisioning.errors import SourceUnreadable
from tests.faults.source_faults import TcpProxy
from tests.support.databases import KINDS, administrator, fresh_database, require, server_url
from tests.support.raw_server import raw_server
from tests.support.site_fixture import TRAP_USERS, trap_site

_PORTS = {"mariadb": 3306, "postgresql": 5432}
SERVERS = tuple(kind for kind in KINDS if kind != "sqlite")
CANARY = "canary-secret-7731"


def told(
    url: str, *, password: Path | None = None, fields: frozenset[str] = frozenset(), prefix: str = ""
) -> str:
    """The detail of the SourceUnreadable that verify raises, with its whole traceback free of secrets."""

    async def run() -> str:
        secret = Secret(file=password) if password else None
        settings = DrupalDatabaseSettings(url=url, password=secret, table_prefix=prefix)
        reader = DatabaseReader(settings, fields)
        try:
            return await reader.verify()
        finally:
            await reader.close()

    with pytest.raises(SourceUnreadable) as raised:
        asyncio.run(run())
    shown = "".join(traceback.format_exception(raised.value))
    assert CANARY not in shown
    assert "sqlalchemy" not in shown
    assert "SELECT" not in raised.value.detail.replace("grant it SELECT on", "")
    return raised.value.detail


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


def database_of(url: str) -> str:
    return str(make_url(url).database)


READABLE = ("users", "users_field_data", "user__roles")


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


@pytest.mark.parametrize("kind", SERVERS)
def test_an_unknown_database_is_named(kind: str) -> None:
    require(kind)

    detail = told(server_url(kind).set(database="scimpipe_no_such").render_as_string(hide_password=False))

    assert "no database scimpipe_no_such" in detail


@pytest.mark.parametrize("kind", SERVERS)
def test_an_unknown_host_and_a_closed_port_are_told_apart(kind: str) -> None:
    somewhere = server_url(kind).set(database="site")

    unknown = told(somewhere.set(host="database.invalid").render_as_string(hide_password=False))
    closed = told(somewhere.set(host="127.0.0.1", port=1).render_as_string(hide_password=False))

    assert "nobody knows the host database.invalid" in unknown
    assert "no connection to the database at 127.0.0.1:1" in closed


@pytest.mark.parametrize("kind", SERVERS)
def test_a_port_that_says_nothing_is_waited_for_as_one_that_does_not_open(kind: str) -> None:
    with raw_server(silent=True) as mute:
        port, began = urlsplit(mute).port, time.monotonic()
        url = server_url(kind).set(
            host="127.0.0.1", port=port, database="site", query={"connect_timeout": "2"}
        )
        assert f"no connection to the database at 127.0.0.1:{port}" in told(url.render_as_string())
    assert time.monotonic() - began < 10


def test_a_query_may_take_longer_than_signing_in() -> None:
    require("mariadb")
    url = server_url("mariadb").set(query={"connect_timeout": "1"}, database="mysql")
    engine = open_engine(DrupalDatabaseSettings(url=url.render_as_string(hide_password=False)), 1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT SLEEP(2)")).scalar() == 0
    engine.dispose()


async def _reads(reader: DatabaseReader) -> bool:
    with suppress(SourceUnreadable):
        return "users" in await reader.verify()
    return False


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_stands_and_says_nothing_is_told_and_read_again_when_it_speaks(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that is stuck. Whoever waits for ever has a worker's users, and its threads."""
    for name in ("CONNECT_TIMEOUT_SECONDS", "QUERY_TIMEOUT_SECONDS"):
        monkeypatch.setattr(database_engine, name, 3)
    with trap_site(kind, tmp_path) as (url, _):
        server = make_url(url)
        with TcpProxy(str(server.host), server.port or _PORTS[kind], 1) as proxy:

            async def body() -> None:
                through = server.set(host="127.0.0.1", port=proxy.port)
                settings = DrupalDatabaseSettings(url=through.render_as_string(hide_password=False))
                reader = DatabaseReader(settings, frozenset())
                await reader.verify()
                monkeypatch.setattr(database, "LONGEST_SECONDS", 1.0)
                proxy.stall_seconds = 600.0
                for _ in range(CONNECTIONS + 1):
                    with pytest.raises(SourceUnreadable, match="has not answered for 1 s"):
                        await reader.verify()
                proxy.stall_seconds = 0.0
                # Those who are connecting anew give that up first.
                deadline = time.monotonic() + 40
                while not await _reads(reader):
                    assert time.monotonic() < deadline
                await reader.close()

            asyncio.run(body())


@pytest.mark.parametrize("kind", SERVERS)
def test_an_argument_that_the_driver_does_not_know_is_told(kind: str) -> None:
    require(kind)
    url = server_url(kind).set(database="site").update_query_dict({"shoe_size": "43"})
    detail = told(url.render_as_string(hide_password=False))
    assert "drupal.url" in detail


@pytest.mark.parametrize(
    ("kind", "argument", "value", "says"),
    [
        ("mariadb", "charset", "utf9", "drupal.url has an argument"),
        ("mariadb", "read_timeout", "soon", "drupal.url has an argument"),
        ("postgresql", "connect_timeout", "soon", "drupal.url has an argument"),
        ("mariadb", "ssl_ca", "/etc/no-such-ca.pem", "check the TLS arguments"),
        ("mariadb", "ssl_ca", __file__, "check the TLS arguments"),
        ("postgresql", "sslmode", "full", "check the TLS arguments"),
    ],
)
def test_a_value_that_an_argument_cannot_have_is_told(
    kind: str, argument: str, value: str, says: str
) -> None:
    require(kind)
    url = server_url(kind).set(database="site").update_query_dict({argument: value})
    assert says in told(url.render_as_string(hide_password=False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_telephone_number_is_no_uid(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):

        async def body() -> None:
            reader = DatabaseReader(DrupalDatabaseSettings(url=url), frozenset())
            assert await reader.search("4930123456") == []
            await reader.close()

        asyncio.run(body())


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_without_drupals_tables_is_no_drupal(kind: str, tmp_path: Path) -> None:
    with fresh_database(kind, tmp_path) as url:
        if kind == "sqlite":
            (Path(database_of(url))).touch()

        assert "has no table users; check that drupal.url" in told(url)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_field_the_site_does_not_have_is_named(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path) as (url, _):
        assert "no user field field_shoe_size" in told(url, fields=frozenset({"field_shoe_size", "mail"}))


@pytest.mark.parametrize("kind", SERVERS)
def test_the_right_prefix_is_found_for_whoever_has_the_wrong_one(kind: str, tmp_path: Path) -> None:
    with trap_site(kind, tmp_path, prefix="drp_") as (url, _):
        assert 'write table_prefix = "drp_"' in told(url, prefix="wrong_")


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "site.sqlite"

    assert f"{file}: there is no such file; check the path in drupal.url" in told(f"sqlite:///{file}")
    assert f"{file}-drp_: there is no such file" in told(f"sqlite:///{file}", prefix="drp_")
    assert not file.exists()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    file = tmp_path / "site.sqlite"
    file.write_text("not a database at all, but long enough to be looked at " * 20)

    assert f"{file} is not an SQLite database" in told(f"sqlite:///{file}")
    assert f"{tmp_path} cannot be opened as an SQLite database" in told(f"sqlite:///{tmp_path}")


def test_a_path_with_marks_of_a_uri_in_it_is_a_path(tmp_path: Path) -> None:
    with trap_site("sqlite", tmp_path) as (url, _):
        odd = Path(database_of(url)).rename(tmp_path / "50%41 of a?b#c.sqlite")

        async def run() -> str:
            reader = DatabaseReader(DrupalDatabaseSettings(url=f"sqlite:///{quote(str(odd))}"), frozenset())
            try:
                return await reader.verify()
            finally:
                await reader.close()

        assert asyncio.run(run()) == "Drupal database on sqlite, 6 users"


def test_a_locked_site_is_busy_and_not_empty(tmp_path: Path) -> None:
    with (
        trap_site("sqlite", tmp_path) as (url, _),
        closing(sqlite3.connect(database_of(url), isolation_level=None)) as drupal,
    ):
        # Without the write-ahead log, as a site may be configured: then readers wait for writers.
        drupal.execute("PRAGMA journal_mode=DELETE")
        drupal.execute("BEGIN EXCLUSIVE")

        assert "is busy" in told(f"{url}?timeout=0.1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("not a url", "no database URL", id="no-url"),
        pytest.param("oracle://db/site", "oracle is no database of Drupal's", id="another-kind"),
        pytest.param("mysql+pymysql://db/", "names no database", id="no-name"),
        pytest.param("sqlite://", "names no database", id="in-memory"),
    ],
)
def test_a_url_that_cannot_be_a_drupal_is_told(url: str, says: str) -> None:
    assert says in told(url)


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

"""What a person is told when Drupal's database cannot be read: what is wrong, where, what to do; never a value."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import make_url, text

from config.settings import DrupalDatabaseSettings
from drupal import database, database_engine
from drupal.database import CONNECTIONS, DatabaseReader
from drupal.database_engine import open_engine
from provisioning.errors import SourceUnreadable
from tests.faults.source_faults import TcpProxy
from tests.support.databases import KINDS, fresh_database, require, server_url
from tests.support.raw_server import raw_server
from tests.support.site_fixture import trap_site
from tests.support.unreadable import SERVERS, database_of, told

_PORTS = {"mariadb": 3306, "postgresql": 5432}


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

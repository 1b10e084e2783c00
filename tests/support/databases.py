"""A fresh database for a test, on each of the three kinds Drupal runs on.

Where the servers are: SCIMPIPE_TEST_MARIADB_URL and SCIMPIPE_TEST_POSTGRES_URL (SQLAlchemy URLs of accounts that may
create databases). A server that cannot be reached skips its tests, but fails them where CI is set.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from drupal.database_engine import nocase_utf8

KINDS = ("sqlite", "mariadb", "postgresql")
_SERVERS = {
    "mariadb": ("SCIMPIPE_TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/"),
    "postgresql": ("SCIMPIPE_TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"),
}


def require(kind: str) -> None:
    """Skips the test when the server of this kind is not there; fails it in CI, where nothing may be skipped."""
    if kind == "sqlite" or _reachable(kind):
        return
    message = f"no {kind} at {server_url(kind).render_as_string()}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a new, empty database; gone afterwards. folder: where an SQLite file goes."""
    require(kind)
    if kind == "sqlite":
        yield f"sqlite:///{folder / f'site-{uuid.uuid4().hex[:8]}.sqlite'}"
        return
    name = f"scimpipe_test_{uuid.uuid4().hex[:12]}"
    with administrator(kind) as server:
        server.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield server_url(kind).set(database=name).render_as_string(hide_password=False)
        finally:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            server.execute(text(f"DROP DATABASE {name}{force}"))


@contextmanager
def writing(url: str) -> Iterator[Any]:
    """A plain connection that can write, as the site's own would."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(
            engine, "connect", lambda connection, _: connection.create_collation("NOCASE_UTF8", nocase_utf8)
        )
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def execute(url: str, *statements: str, **parameters: Any) -> None:
    with writing(url) as connection:
        for statement in statements:
            connection.execute(text(statement), parameters)


@contextmanager
def administrator(kind: str, database: str | None = None) -> Iterator[Connection]:
    """A connection that may do anything, each statement by itself."""
    url = server_url(kind) if database is None else server_url(kind).set(database=database)
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def server_url(kind: str) -> URL:
    variable, default = _SERVERS[kind]
    return make_url(os.environ.get(variable, default))


def _engine(url: URL) -> Engine:
    return create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})


@cache
def _reachable(kind: str) -> bool:
    try:
        with administrator(kind):
            return True
    except OperationalError:
        return False

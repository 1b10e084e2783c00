"""Opens Drupal's database, on any of the three kinds it runs on, so that nothing can be written to it."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from config.settings import DrupalDatabaseSettings
from drupal.errors import NotDrupal

CONNECT_TIMEOUT_SECONDS = 10
# A page of the largest sites takes a second or two; whatever takes a minute is stuck.
QUERY_TIMEOUT_SECONDS = 60
# How long SQLite waits while Drupal writes (?timeout= in the URL is other than that); a save that sends mail took 5 s.
SQLITE_LOCK_SECONDS = 15
# An idle connection is opened anew before a firewall forgets it.
RECYCLE_SECONDS = 900

_DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
}


def fold(text: str | None) -> str | None:
    """Text without its case, beyond ASCII too."""
    return None if text is None else text.casefold()


def nocase_utf8(left: str, right: str) -> int:
    """The collation NOCASE_UTF8 that Drupal puts on SQLite columns and no other program has (FACTS "Tables")."""
    a, b = left.casefold(), right.casefold()
    return (a > b) - (a < b)


def database_url(settings: DrupalDatabaseSettings) -> URL:
    """drupal.url with the driver we use, and the file Drupal really keeps the tables in.

    On SQLite Drupal's table prefix names a second file, `<file>-<prefix>`, and the tables in it have none (Drupal's
    sqlite Connection, attachDatabase). Raises NotDrupal.
    """
    try:
        url = make_url(settings.url)
    except SQLAlchemyError:
        raise NotDrupal(
            "drupal.url is no database URL; write mysql+pymysql://account@host/database"
        ) from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise NotDrupal(
            f"drupal.url: {url.get_backend_name()} is no database of Drupal's; write mysql+pymysql://, "
            "postgresql+psycopg:// or sqlite:///"
        )
    if not url.database:
        raise NotDrupal("drupal.url names no database; write it after the last slash")
    url = url.set(drivername=driver)
    if is_sqlite(url) and settings.table_prefix:
        url = url.set(database=f"{url.database}-{settings.table_prefix}")
    return url


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def open_engine(settings: DrupalDatabaseSettings, connections: int) -> Engine:
    """An engine whose sessions can only read, each transaction seeing one moment of the site. Does not connect yet.

    connections: the most that are open at once. Raises NotDrupal for a URL that cannot be one.
    """
    url = database_url(settings)
    if is_sqlite(url):
        return _sqlite_engine(url)
    engine = create_engine(
        url,
        connect_args=_connect_arguments(url),
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        pool_size=connections,
    )
    if _is_mysql(url) and "read_timeout" not in url.query:
        event.listen(engine, "do_connect", _greeted_soon)
        event.listen(engine, "connect", _queried_longer)
    event.listen(engine, "connect", _only_read_mysql if _is_mysql(url) else _only_read_postgresql)
    secret = settings.password
    if secret is not None:

        def give_password(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
            # Read at each new connection: a password that was changed needs no restart, and is in no URL.
            parameters["password"] = secret.reveal()

        event.listen(engine, "do_connect", give_password)
    return engine


def cut_off(connections: Iterable[Any]) -> None:
    """Ends what the drivers of these connections wait for, in whichever thread: each fails there as one that broke."""
    for connection in connections:
        with contextlib.suppress(Exception):  # of one that is closed already each driver says something else
            descriptor = os.dup(getattr(connection, "_sock", connection).fileno())
            with socket.socket(fileno=descriptor) as wire:
                wire.shutdown(socket.SHUT_RDWR)


def _is_mysql(url: URL) -> bool:
    return url.get_backend_name() == "mysql"


def _connect_arguments(url: URL) -> dict[str, Any]:
    """Time-outs and character set, each unless the URL has its own."""
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    if _is_mysql(url):
        arguments |= {
            "charset": "utf8mb4",
            "write_timeout": QUERY_TIMEOUT_SECONDS,
        }
    else:
        # No server-side prepared statements: poolers such as PgBouncer lose them between transactions.
        arguments |= {"prepare_threshold": None, "keepalives_idle": QUERY_TIMEOUT_SECONDS}
    return {name: value for name, value in arguments.items() if name not in url.query}


def _greeted_soon(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
    """PyMySQL's connect_timeout ends as the port is open, and a server that then says nothing is waited for as for a query."""
    parameters["read_timeout"] = parameters["connect_timeout"]


def _queried_longer(connection: Any, _record: Any) -> None:
    connection._read_timeout = QUERY_TIMEOUT_SECONDS  # noqa: SLF001  # PyMySQL asks it at each read, and has no other way


def _only_read_mysql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _only_read_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        cursor.execute(f"SET statement_timeout = {QUERY_TIMEOUT_SECONDS * 1000}")
    connection.commit()


def _sqlite_engine(url: URL) -> Engine:
    file = Path(str(url.database)).expanduser()
    try:
        lock_seconds = float(str(url.query.get("timeout", SQLITE_LOCK_SECONDS)))
    except ValueError:
        raise NotDrupal("drupal.url: timeout is no number; write seconds, as in ?timeout=15") from None

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(file))}?mode=ro",
            uri=True,
            timeout=lock_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.create_collation("NOCASE_UTF8", nocase_utf8)
        # SQLite's own lower() knows ASCII only; searching needs more.
        connection.create_function("lower", 1, fold, deterministic=True)
        return connection

    # No pool: opening costs nothing, and a site restored from a copy is another file under the same name.
    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine

"""Reads users from Drupal's own database: MySQL or MariaDB, PostgreSQL, SQLite."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from config.settings import DrupalDatabaseSettings, SecretUnavailableError
from drupal import database_queries as queries
from drupal.database_engine import cut_off, database_url, open_engine
from drupal.database_errors import database_error
from drupal.database_queries import ShapeOutdated
from drupal.database_schema import Site, UserTables
from drupal.errors import NotDrupal, Unreachable, source_errors
from drupal.fields import field_names
from provisioning.mapping import BASE_NAMES
from provisioning.model import FieldInfo, SourceUser, Total, UserRef

CONNECTIONS = 4
READ_BATCH = 500
SCAN_PAGE = 1000
IDS_PAGE = 10_000
# Of one read with all its statements, the longest of which the server or the driver ends before (QUERY_TIMEOUT_SECONDS).
LONGEST_SECONDS = 180.0

T = TypeVar("T")
Work = Callable[[Connection, UserTables], T]


class DatabaseReader:
    """A `provisioning.ports.CountingReader` on Drupal's database. Never writes: every session is read-only.

    names: the Drupal names the mappings use; of the field tables only those named are read, and only those fields are in
    `SourceUser.values`. Each call, and each page of a listing, is one transaction, so a user is never seen half saved. A
    several-valued field is a list, a field of several columns (a link) a dict; see `drupal.database_schema` for how
    they are told apart. A site without any user is unreadable, not empty: it is never the site we were given.

    Raises SourceUnreadable for everything that goes wrong, also in the middle of a listing.
    """

    def __init__(self, settings: DrupalDatabaseSettings, names: frozenset[str]) -> None:
        self._settings = settings
        self._fields = field_names(names)
        # On SQLite the prefix is in the file's name (database_url).
        self._site = Site("" if settings.url.startswith("sqlite") else settings.table_prefix)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._tables: UserTables | None = None
        # As many threads as connections: none waits for the pool, and the loop is never blocked.
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="drupal-database")

    async def verify(self) -> str:
        """Connects, and reads one user with everything the mapping needs. "Drupal database on mariadb, 125 users"."""
        kind, count = await self._run(_verified)
        return f"Drupal database on {kind}, {count} {'user' if count == 1 else 'users'}"

    async def read(self, ids: Sequence[str]) -> Mapping[str, SourceUser]:
        users: dict[str, SourceUser] = {}
        for batch in _batches(list(dict.fromkeys(ids)), READ_BATCH):
            users |= await self._run(partial(_by_uuid, ids=batch))
        return users

    async def present(self, ids: Sequence[str]) -> frozenset[str]:
        there: frozenset[str] = frozenset()
        for batch in _batches(list(dict.fromkeys(ids)), READ_BATCH):
            there |= await self._run(partial(_present, ids=batch))
        return there

    async def scan(self, after: int = 0) -> AsyncIterator[Sequence[SourceUser]]:
        """Each page is read while the one before it is worked on."""
        page = await self._run(partial(_users_page, after=after))
        while page:
            following = asyncio.create_task(self._run(partial(_users_page, after=page[-1].uid)))
            # Whoever stops here does not hear of a page that could not be read.
            following.add_done_callback(lambda read: read.cancelled() or read.exception())
            try:
                yield page
                page = await following
            finally:
                following.cancel()

    async def ids(self, after: int = 0) -> AsyncIterator[Sequence[UserRef]]:
        while page := await self._run(partial(_refs_page, after=after)):
            yield page
            after = page[-1].uid

    async def changed_since(self, since: int) -> Sequence[UserRef]:
        return await self._run(lambda connection, tables: queries.refs_changed(connection, tables, since))

    async def total(self) -> Total:
        return await self._run(queries.total)

    async def totals(self, width: int) -> Mapping[int, Total]:
        return await self._run(partial(queries.totals, width=width))

    async def uuids(self, first: int, last: int) -> Mapping[int, str]:
        return await self._run(partial(queries.uuids_between, first=first, last=last))

    async def search(self, text: str, limit: int = 50) -> Sequence[SourceUser]:
        """Exact matches first. MySQL and MariaDB also find what differs in accents only."""
        return await self._run(
            lambda connection, tables: queries.users_matching(connection, tables, text, limit)
        )

    async def fields(self) -> Sequence[FieldInfo]:
        """The base names, then every field_* our account may read."""
        base = [FieldInfo(name, multiple=name == "roles") for name in sorted(BASE_NAMES)]
        shapes = await self._threaded(partial(self._in_session, self._site.all_fields))
        return [*base, *(shape.info() for shape in shapes)]

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, engine.dispose)
        self._threads.shutdown(wait=False)

    async def _run(self, work: Work[T]) -> T:
        return await self._threaded(partial(self._on_tables, work))

    async def _threaded(self, work: Callable[[], T]) -> T:
        with source_errors():
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            except TimeoutError:
                # PostgreSQL's driver waits for ever at a connection that stands and says nothing.
                cut_off(self._connections)
                host = database_url(self._settings).host or "the host"
                raise Unreachable(
                    f"the database at {host} has not answered for {LONGEST_SECONDS:g} s; is it, or what is in between, stuck?"
                ) from None

    def _on_tables(self, work: Work[T]) -> T:
        try:
            return self._in_session(lambda connection: work(connection, self._known_tables(connection)))
        except ShapeOutdated:
            self._tables = None
            return self._in_session(lambda connection: work(connection, self._known_tables(connection)))

    def _known_tables(self, connection: Connection) -> UserTables:
        """Found once: they change with the site's configuration, hardly ever."""
        if self._tables is None:
            self._tables = self._site.discover(connection, self._fields)
        return self._tables

    def _in_session(self, work: Callable[[Connection], T]) -> T:
        """One read-only transaction."""
        try:
            with self._connected() as connection, connection.begin():
                return work(connection)
        except (SQLAlchemyError, SecretUnavailableError, OSError, RuntimeError) as error:
            # RuntimeError is PyMySQL's, for want of a package. What we knew of the tables may be what is wrong.
            self._tables = None
            raise database_error(error, database_url(self._settings)) from None

    def _connected(self) -> Connection:
        try:
            return self._opened().connect()
        except (TypeError, ValueError, AttributeError, ProgrammingError) as error:
            # A name, a number and a character set that the drivers do not know, each in its own way.
            known = ("connection option", "bad value for")
            if isinstance(error, ProgrammingError) and not any(words in str(error) for words in known):
                raise
            raise NotDrupal(
                "drupal.url has an argument that the database's driver does not know, or with a value that it does not; "
                "see the driver's connect"
            ) from None

    def _opened(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = open_engine(self._settings, CONNECTIONS)
                if not self._settings.url.startswith("sqlite"):
                    event.listen(self._engine, "connect", lambda made, _: self._connections.add(made))
            return self._engine


def _verified(connection: Connection, tables: UserTables) -> tuple[str, int]:
    queries.require_users(connection, tables)
    queries.users_after(connection, tables, 0, limit=1)
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    return "mariadb" if is_mariadb else connection.dialect.name, queries.count_users(connection, tables)


def _by_uuid(connection: Connection, tables: UserTables, ids: Sequence[str]) -> Mapping[str, SourceUser]:
    return queries.users_by_uuid(connection, tables, ids)


def _present(connection: Connection, tables: UserTables, ids: Sequence[str]) -> frozenset[str]:
    return queries.uuids_present(connection, tables, ids)


def _users_page(connection: Connection, tables: UserTables, after: int) -> Sequence[SourceUser]:
    if after <= 0:
        queries.require_users(connection, tables)
    return queries.users_after(connection, tables, after, SCAN_PAGE)


def _refs_page(connection: Connection, tables: UserTables, after: int) -> Sequence[UserRef]:
    if after <= 0:
        queries.require_users(connection, tables)
    return queries.refs_after(connection, tables, after, IDS_PAGE)


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))

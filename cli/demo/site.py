"""A Drupal-shaped site that can be acted upon: the tables Drupal makes, and what an administrator does in its forms.

Each action is one transaction and moves `changed` exactly where Drupal does (FACTS "changed").
"""

from __future__ import annotations

import time
import uuid as uuids
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Engine, create_engine, delete, event, select
from sqlalchemy.pool import NullPool

from cli.demo.people import ADMIN, ANONYMOUS_UUID, people
from cli.demo.rows import ACCOUNT, LANGCODE, Person, UserRows
from cli.demo.tables import DrupalTables
from config.settings import DrupalDatabaseSettings
from drupal.database_engine import database_url, is_sqlite, nocase_utf8

# Longer than any save of the demonstration takes.
LOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class SiteUser:
    """A user as the site's own list of people shows it."""

    uid: int
    uuid: str
    name: str
    mail: str | None
    status: bool
    changed: int


class DrupalSite:
    """A site in a database of its own. `create` makes it; user 1 is its administrator, as in every Drupal.

    Fields: field_first_name, field_last_name, field_department (text), field_interests (several texts), field_homepage
    (a link: uri, title). Every action on a user raises KeyError for one who is not there.
    """

    def __init__(self, engine: Engine, tables: DrupalTables, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._tables = tables
        self._rows = UserRows(tables, clock)

    @classmethod
    def create(cls, url: str, *, prefix: str = "", clock: Callable[[], float] = time.time) -> DrupalSite:
        """Makes the tables in an empty database, the anonymous user (0) and the administrator (1).

        url: an SQLAlchemy URL, with the password if there is one. clock: gives Unix seconds.
        """
        site = cls.open(url, prefix=prefix, clock=clock)
        site._make()
        return site

    @classmethod
    def open(cls, url: str, *, prefix: str = "", clock: Callable[[], float] = time.time) -> DrupalSite:
        """A site that `create` made before."""
        place = database_url(DrupalDatabaseSettings(url=url, table_prefix=prefix))
        return cls(_writing_engine(place), DrupalTables("" if is_sqlite(place) else prefix), clock)

    def close(self) -> None:
        self._engine.dispose()

    def add_user(
        self,
        name: str,
        mail: str | None,
        *,
        first_name: str | None = None,
        last_name: str | None = None,
        department: str | None = None,
        interests: Sequence[str] = (),
        homepage: tuple[str, str] | None = None,
        roles: Sequence[str] = (),
        status: bool = True,
        uuid: str | None = None,
    ) -> str:
        """Adds a user and returns the uuid. homepage: (uri, title). IntegrityError for a name or uuid that is taken."""
        uuid = uuid or str(uuids.uuid4())
        person = Person(
            uuid, name, mail, first_name, last_name, department, interests, homepage, roles, status
        )
        self.add_people((person,))
        return uuid

    def add_people(self, persons: Iterable[Person]) -> None:
        """Several users at once, as an import module adds them."""
        with self._engine.begin() as connection:
            self._rows.add(connection, persons)

    def populate(self, count: int = 50) -> None:
        """Adds varied people until the site has `count` users, the administrator among them."""
        there = len(self.users())
        self.add_people(people(count - there, first=there))

    def edit(self, uuid: str, **values: Any) -> None:
        """The user form. values: name, mail, status, timezone, roles, first_name, last_name, department, interests,
        homepage; None or () empties a field. Moves `changed`, as Save does even when nothing is different.
        """
        account = {name: values.pop(name) for name in ACCOUNT & values.keys()}
        roles = values.pop("roles", None)
        with self._engine.begin() as connection:
            uid = self._rows.uid(connection, uuid)
            self._rows.write_account(connection, uid, account)
            if roles is not None:
                self._rows.write_roles(connection, uid, roles)
            self._rows.write_fields(connection, uid, LANGCODE, values)
            self._rows.touch(connection, uid, LANGCODE)

    def block(self, uuid: str) -> None:
        """Blocks a user; so does cancelling the account, unless the site was told otherwise."""
        self.edit(uuid, status=False)

    def unblock(self, uuid: str) -> None:
        self.edit(uuid, status=True)

    def delete(self, *users: str) -> None:
        """Cancels accounts, by uuid, and deletes them: no trace is left. Several at once, as a restored backup does."""
        with self._engine.begin() as connection:
            for uuid in users:
                self._rows.remove(connection, self._rows.uid(connection, uuid))

    def translate(self, uuid: str, langcode: str, **fields: Any) -> None:
        """Adds or edits a translation of a user. fields: as in `edit`, without account and roles. The user's own
        language keeps its values and its `changed`.
        """
        with self._engine.begin() as connection:
            uid = self._rows.uid(connection, uuid)
            self._rows.write_translation(connection, uid, langcode)
            self._rows.write_fields(connection, uid, langcode, fields)
            self._rows.touch(connection, uid, langcode)

    def delete_role(self, role: str) -> None:
        """Deletes a role from the site. Nobody's `changed` moves (FACTS "changed")."""
        roles = self._tables.roles
        with self._engine.begin() as connection:
            connection.execute(delete(roles).where(roles.c.roles_target_id == role))

    def users(self) -> tuple[SiteUser, ...]:
        """Everybody but the anonymous user, by uid."""
        users, data = self._tables.users.c, self._tables.data.c
        columns = (users.uid, users.uuid, data.name, data.mail, data.status, data.changed)
        asked = select(*columns).where(users.uid == data.uid, data.default_langcode == 1, users.uid > 0)
        with self._engine.connect() as connection:
            return tuple(
                SiteUser(uid, uuid, name, mail, bool(status), changed or 0)
                for uid, uuid, name, mail, status, changed in connection.execute(asked.order_by(users.uid))
            )

    def _make(self) -> None:
        self._tables.metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            self._rows.configure(connection)
            self._rows.add_anonymous(connection, ANONYMOUS_UUID)
            self._rows.add(connection, (ADMIN,))


def _writing_engine(url: URL) -> Engine:
    """As Drupal connects: on SQLite with a collation of its own and the write-ahead log."""
    if not is_sqlite(url):
        return create_engine(url)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_SECONDS})

    def prepare(connection: Any, _record: Any) -> None:
        connection.create_collation("NOCASE_UTF8", nocase_utf8)
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    event.listen(engine, "connect", prepare)
    # IMMEDIATE: a transaction that reads before it writes would fail, not wait, when another one writes.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine

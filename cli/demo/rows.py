"""Writes the rows of users as Drupal's storage does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from cli.demo.tables import FIELDS, DrupalTables, php_serialize

BUNDLE = "user"
LANGCODE = "en"
TIMEZONE = "Europe/Berlin"
ACCOUNT = frozenset({"name", "mail", "status", "timezone"})
# A field's values, each as columns of its table.
_Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Person:
    """A user to be added. homepage: (uri, title)."""

    uuid: str
    name: str
    mail: str | None
    first_name: str | None = None
    last_name: str | None = None
    department: str | None = None
    interests: Sequence[str] = ()
    homepage: tuple[str, str] | None = None
    roles: Sequence[str] = ()
    status: bool = True

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "department": self.department,
            "interests": self.interests,
            "homepage": self.homepage,
        }


class UserRows:
    """The rows of users in one site. clock: gives Unix seconds; `changed` takes whole ones."""

    def __init__(self, tables: DrupalTables, clock: Callable[[], float]) -> None:
        self.tables = tables
        self._clock = clock

    def uid(self, connection: Connection, uuid: str) -> int:
        """Raises KeyError."""
        users = self.tables.users.c
        row = connection.execute(select(users.uid).where(users.uuid == uuid)).first()
        if row is None:
            raise KeyError(uuid)
        return int(row.uid)

    def add(self, connection: Connection, persons: Iterable[Person]) -> None:
        """Users with everything; each uid is the next one. A statement for each table, and not for each of a user's values."""
        rows: dict[Table, list[dict[str, Any]]] = {}
        for person in persons:
            uid = self._identity(connection, {"uuid": person.uuid, "langcode": LANGCODE})
            rows.setdefault(self.tables.data, []).append(self._account(person, uid))
            for table, items in (self._of_roles(person.roles), *self._of_fields(person.fields)):
                rows.setdefault(table, []).extend(_values(items, uid, LANGCODE))
        for table, several in rows.items():
            _insert(connection, table, several)

    def add_anonymous(self, connection: Connection, uuid: str) -> None:
        """User 0, with an empty name (FACTS "Tables")."""
        if connection.dialect.name in {"mysql", "mariadb"}:
            # MySQL takes 0 for "the next number" otherwise.
            connection.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
        now = int(self._clock())
        row = {"uid": 0, "langcode": LANGCODE, "preferred_langcode": LANGCODE, "default_langcode": 1}
        row |= {"name": "", "status": 0, "created": now, "changed": now, "access": 0, "login": 0}
        connection.execute(insert(self.tables.users).values(uid=0, uuid=uuid, langcode=LANGCODE))
        connection.execute(insert(self.tables.data).values(row))

    def remove(self, connection: Connection, uid: int) -> None:
        for table in self.tables.of_values:
            connection.execute(delete(table).where(table.c.entity_id == uid))
        connection.execute(delete(self.tables.data).where(self.tables.data.c.uid == uid))
        connection.execute(delete(self.tables.users).where(self.tables.users.c.uid == uid))

    def write_account(self, connection: Connection, uid: int, values: Mapping[str, Any]) -> None:
        """values: of ACCOUNT, which are the same in every language of a user."""
        if values:
            row = {name: int(value) if name == "status" else value for name, value in values.items()}
            connection.execute(update(self.tables.data).where(self.tables.data.c.uid == uid).values(row))

    def write_translation(self, connection: Connection, uid: int, langcode: str) -> None:
        """A second row for the user, unless it is there."""
        rows = self.tables.data
        mine = rows.c.uid == uid
        if connection.execute(select(rows.c.uid).where(mine, rows.c.langcode == langcode)).first():
            return
        own = connection.execute(select(rows).where(mine, rows.c.default_langcode == 1)).one()
        translation = {**own._asdict(), "langcode": langcode, "default_langcode": 0}
        connection.execute(insert(rows).values(translation))

    def touch(self, connection: Connection, uid: int, langcode: str) -> None:
        """Moves `changed` to now."""
        rows = self.tables.data
        mine = (rows.c.uid == uid, rows.c.langcode == langcode)
        connection.execute(update(rows).where(*mine).values(changed=int(self._clock())))

    def write_roles(self, connection: Connection, uid: int, roles: Sequence[str]) -> None:
        _replace(connection, *self._of_roles(roles), uid, LANGCODE)

    def write_fields(
        self, connection: Connection, uid: int, langcode: str, values: Mapping[str, Any]
    ) -> None:
        """values: by the field's name without field_. An empty value has no row (FACTS "Tables")."""
        for table, items in self._of_fields(values):
            _replace(connection, table, items, uid, langcode)

    def configure(self, connection: Connection) -> None:
        """The configuration of the fields."""
        rows = [
            {
                "collection": "",
                "name": f"field.storage.user.{field.name}",
                "data": php_serialize(field.storage),
            }
            for field in FIELDS
        ]
        connection.execute(insert(self.tables.config), rows)

    def _account(self, person: Person, uid: int) -> dict[str, Any]:
        now = int(self._clock())
        row = {"uid": uid, "langcode": LANGCODE, "preferred_langcode": LANGCODE, "default_langcode": 1}
        row |= {"timezone": TIMEZONE, "created": now, "changed": now, "access": 0, "login": 0}
        row |= {"name": person.name, "mail": person.mail, "init": person.mail, "status": int(person.status)}
        return row

    def _identity(self, connection: Connection, values: Mapping[str, Any]) -> int:
        made = connection.execute(insert(self.tables.users), values)
        assert made.inserted_primary_key is not None, "the table has a serial key"
        return int(made.inserted_primary_key[0])

    def _of_roles(self, roles: Sequence[str]) -> tuple[Table, _Items]:
        return self.tables.roles, [{"roles_target_id": role} for role in roles]

    def _of_fields(self, values: Mapping[str, Any]) -> Iterator[tuple[Table, _Items]]:
        for short, value in values.items():
            name = f"field_{short}"
            yield self.tables.fields[name], [_columns(name, item) for item in _items(short, value)]


def _replace(connection: Connection, table: Table, items: _Items, uid: int, langcode: str) -> None:
    """All values of one field of one user in one language."""
    connection.execute(delete(table).where(table.c.entity_id == uid, table.c.langcode == langcode))
    _insert(connection, table, _values(items, uid, langcode))


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _values(items: _Items, uid: int, langcode: str) -> list[dict[str, Any]]:
    """Rows of a field's table."""
    row = {"bundle": BUNDLE, "deleted": 0, "entity_id": uid, "revision_id": uid, "langcode": langcode}
    return [{**row, "delta": delta, **item} for delta, item in enumerate(items)]


def _items(short: str, value: Any) -> Sequence[Any]:
    if short == "interests":
        return tuple(value or ())
    return () if value is None else (value,)


def _columns(field: str, item: Any) -> dict[str, Any]:
    if field == "field_homepage":
        uri, title = item
        return {f"{field}_uri": uri, f"{field}_title": title, f"{field}_options": php_serialize({})}
    return {f"{field}_value": item}

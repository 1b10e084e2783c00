"""The tables of a Drupal site that hold users, and what its fields look like (FACTS "Tables").

Whether a field holds several values is in no field table. Drupal's own word on it is its configuration, table `config`,
row `field.storage.user.field_x` (serialised by PHP: cardinality, type). Where that table cannot be read (an account
with rights on the user tables only), a field counts as several-valued when any row of it has delta > 0; then a field made for
several values in which nobody has more than one reads as a single one, booleans read as 0 and 1, and decimals of SQLite lose
trailing zeros. Grant SELECT on `config` to have it exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnClause,
    Connection,
    Integer,
    LargeBinary,
    Select,
    String,
    TableClause,
    column,
    false,
    inspect,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError

from drupal.database_errors import Reason, reason_of
from drupal.errors import NotDrupal, UnknownField
from drupal.fields import FIELD_PREFIX, FieldShape, configured
from drupal.php import unserialize

FIELD_TABLE = "user__"
STORAGE = "field.storage.user."
_NUMBERS = ("uid", "status", "created", "changed", "access", "login", "default_langcode")
_TEXTS = ("langcode", "name", "mail", "timezone")


@dataclass(frozen=True, slots=True)
class FieldTable:
    """A field and the table its values are in: entity_id, deleted, langcode, delta, <field>_<column>..."""

    shape: FieldShape
    table: TableClause


@dataclass(frozen=True, slots=True)
class UserTables:
    """The tables of the users, and of the fields in use."""

    users: TableClause
    data: TableClause
    roles: FieldTable
    fields: Sequence[FieldTable]


class Site:
    """The names of one site's tables. prefix: as in settings; with a dot it names a schema (`other.` or `other.x_`)."""

    def __init__(self, prefix: str) -> None:
        schema, _, self._prefix = prefix.rpartition(".")
        self._schema = schema or None

    def discover(self, connection: Connection, fields: Sequence[str]) -> UserTables:
        """Raises NotDrupal without the tables of users, UnknownField for a field the site does not have."""
        present = self._tables(connection)
        self._require_users(present)
        if unknown := [name for name in fields if self._field_table_name(name) not in present]:
            raise UnknownField(
                f"Drupal has no user field {', '.join(unknown)}; correct the mapping (`scimpipe fields` lists the names)"
            )
        shapes = [self._columns(connection, name) for name in fields]
        shapes = self._configured(connection, shapes, present)
        return UserTables(
            users=self._table(
                "users", column("uid", Integer), column("uuid", String), column("langcode", String)
            ),
            data=self._table(
                "users_field_data",
                *(column(name, Integer) for name in _NUMBERS),
                *(column(name, String) for name in _TEXTS),
            ),
            roles=self._field_table(FieldShape("roles", ("target_id",), multiple=True)),
            fields=tuple(self._field_table(self._guessed(connection, shape)) for shape in shapes),
        )

    def all_fields(self, connection: Connection) -> Sequence[FieldShape]:
        """Every field of the user entity that our account may read."""
        present = self._tables(connection)
        self._require_users(present)
        start = self._prefix + FIELD_TABLE
        names = sorted(name.removeprefix(start) for name in present if name.startswith(start + FIELD_PREFIX))
        shapes = [shape for name in names if (shape := self._readable_columns(connection, name))]
        return [self._guessed(connection, shape) for shape in self._configured(connection, shapes, present)]

    # -- tables ----------------------------------------------------------------------------------------------

    def _tables(self, connection: Connection) -> frozenset[str]:
        """Views too: a careful site lets us see views that leave the password column out."""
        inspector = inspect(connection)
        return frozenset(inspector.get_table_names(self._schema)) | frozenset(
            inspector.get_view_names(self._schema)
        )

    def _require_users(self, present: Collection[str]) -> None:
        needed = ("users", "users_field_data", "user__roles")
        missing = [self._prefix + name for name in needed if self._prefix + name not in present]
        if missing:
            raise NotDrupal(f"the database has no table {missing[0]}; {self._advice(present)}")

    def _advice(self, present: Collection[str]) -> str:
        last = "users_field_data"
        prefixes = sorted(name.removesuffix(last) for name in present if name.endswith(last))
        if not prefixes:
            return "check that drupal.url names Drupal's database, and that the account may read its tables"
        return " or ".join(f'write table_prefix = "{prefix}" in [drupal]' for prefix in prefixes)

    def _table(self, name: str, *columns: Any) -> TableClause:
        return table(self._prefix + name, *columns, schema=self._schema)

    def _field_table_name(self, field: str) -> str:
        return f"{self._prefix}{FIELD_TABLE}{field}"

    def _field_table(self, shape: FieldShape) -> FieldTable:
        numbers = (column(name, Integer) for name in ("entity_id", "deleted", "delta"))
        values: Iterator[ColumnClause[Any]] = (column(f"{shape.name}_{part}") for part in shape.columns)
        made = self._table(FIELD_TABLE + shape.name, *numbers, column("langcode", String), *values)
        return FieldTable(shape, made)

    # -- fields ----------------------------------------------------------------------------------------------

    def _columns(self, connection: Connection, field: str) -> FieldShape:
        """Asked of an empty result: the same on every database, and it needs no right but to read."""
        asked: Select[Any] = (
            select(literal_column("*")).select_from(self._table(FIELD_TABLE + field)).where(false())
        )
        names = connection.execute(asked).keys()
        start = f"{field}_"
        return FieldShape(field, tuple(name.removeprefix(start) for name in names if name.startswith(start)))

    def _readable_columns(self, connection: Connection, field: str) -> FieldShape | None:
        try:
            with connection.begin_nested():
                return self._columns(connection, field)
        except DBAPIError as error:
            if reason_of(error) is Reason.NO_RIGHT:
                return None
            raise

    def _configured(
        self, connection: Connection, shapes: Sequence[FieldShape], present: Collection[str]
    ) -> list[FieldShape]:
        if not shapes or f"{self._prefix}config" not in present:
            return list(shapes)
        storages = self._storages(connection, [shape.name for shape in shapes])
        return [configured(shape, storages.get(shape.name, {})) for shape in shapes]

    def _storages(self, connection: Connection, fields: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        config = self._table(
            "config", column("collection", String), column("name", String), column("data", LargeBinary)
        )
        asked = select(config.c.name, config.c.data).where(
            config.c.collection == "", config.c.name.in_([STORAGE + field for field in fields])
        )
        try:
            with connection.begin_nested():
                return dict(_storage_rows(connection.execute(asked)))
        except DBAPIError as error:
            if reason_of(error) is Reason.NO_RIGHT:
                return {}
            raise

    def _guessed(self, connection: Connection, shape: FieldShape) -> FieldShape:
        if shape.multiple is not None:
            return shape
        rows = self._field_table(shape).table
        several = select(rows.c.delta).where(rows.c.deleted == 0, rows.c.delta > 0).limit(1)
        several_there = connection.execute(several).first() is not None
        return replace(shape, multiple=several_there, guessed=True)


def _storage_rows(rows: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, data in rows:
        try:
            storage = unserialize(data.encode() if isinstance(data, str) else bytes(data))
        except ValueError:
            continue
        if isinstance(storage, dict):
            yield name.removeprefix(STORAGE), storage

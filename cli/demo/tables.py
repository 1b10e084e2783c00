"""The tables of users as Drupal 10 makes them on MySQL, PostgreSQL and SQLite, and the configuration of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.types import TypeEngine

LANGCODE_LENGTH = 12
_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_general_ci",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the user entity. cardinality: -1 is unlimited. columns: name without the field's -> type."""

    name: str
    type: str
    cardinality: int
    columns: Mapping[str, TypeEngine[Any]]

    @property
    def storage(self) -> dict[str, Any]:
        """What Drupal's configuration says of it: field.storage.user.<name>."""
        return {
            "langcode": "en",
            "status": True,
            "dependencies": {"module": ["user"]},
            "id": f"user.{self.name}",
            "field_name": self.name,
            "entity_type": "user",
            "type": self.type,
            "settings": {"max_length": 255} if self.type == "string" else {},
            "module": "link" if self.type == "link" else "core",
            "locked": False,
            "cardinality": self.cardinality,
            "translatable": True,
            "indexes": {},
            "persist_with_no_fields": False,
            "custom_storage": False,
        }


def text(length: int) -> TypeEngine[Any]:
    """A text column: on SQLite with the collation only Drupal has."""
    return String(length).with_variant(sqlite.VARCHAR(length, collation="NOCASE_UTF8"), "sqlite")


def _ascii(length: int) -> TypeEngine[Any]:
    """Machine names and languages."""
    variant = mysql.VARCHAR(length, charset="ascii", collation="ascii_general_ci")
    return String(length).with_variant(variant, "mysql", "mariadb")


def _uuid() -> TypeEngine[Any]:
    return _ascii(128).with_variant(sqlite.VARCHAR(128, collation="NOCASE_UTF8"), "sqlite")


def _unsigned() -> TypeEngine[Any]:
    return (
        Integer()
        .with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
        .with_variant(postgresql.BIGINT(), "postgresql")
    )


def _tiny() -> TypeEngine[Any]:
    return (
        SmallInteger()
        .with_variant(mysql.TINYINT(), "mysql", "mariadb")
        .with_variant(sqlite.INTEGER(), "sqlite")
    )


def blob() -> TypeEngine[Any]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


FIELDS = (
    Field("field_first_name", "string", 1, {"value": text(255)}),
    Field("field_last_name", "string", 1, {"value": text(255)}),
    Field("field_department", "string", 1, {"value": text(255)}),
    Field("field_interests", "string", -1, {"value": text(255)}),
    Field("field_homepage", "link", 1, {"uri": text(2048), "title": text(255), "options": blob()}),
)


class DrupalTables:
    """The tables under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.metadata = MetaData()
        self._prefix = prefix
        self.users = self._users()
        self.data = self._users_field_data()
        self.config = self._config()
        self.roles = self._field_table("roles", {"target_id": _ascii(255)})
        self.fields = {field.name: self._field_table(field.name, field.columns) for field in FIELDS}

    @property
    def of_values(self) -> tuple[Table, ...]:
        """The tables with one row for each value of a user."""
        return (self.roles, *self.fields.values())

    def _users(self) -> Table:
        name = f"{self._prefix}users"
        return Table(
            name,
            self.metadata,
            Column(
                "uid",
                Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb"),
                primary_key=True,
            ),
            Column("uuid", _uuid(), nullable=False),
            Column("langcode", _ascii(LANGCODE_LENGTH), nullable=False),
            UniqueConstraint("uuid", name=f"{name}_user_field__uuid__value"),
            sqlite_autoincrement=True,
            **_MYSQL,
        )

    def _users_field_data(self) -> Table:
        name = f"{self._prefix}users_field_data"
        return Table(
            name,
            self.metadata,
            Column("uid", _unsigned(), primary_key=True, autoincrement=False),
            Column("langcode", _ascii(LANGCODE_LENGTH), primary_key=True),
            Column("preferred_langcode", _ascii(LANGCODE_LENGTH)),
            Column("preferred_admin_langcode", _ascii(LANGCODE_LENGTH)),
            Column("name", text(60), nullable=False),
            Column("pass", text(255)),
            Column("mail", String(254)),
            Column("timezone", text(32)),
            Column("status", _tiny()),
            Column("created", Integer, nullable=False),
            Column("changed", Integer),
            Column("access", Integer, nullable=False),
            Column("login", Integer),
            Column("init", String(254)),
            Column("default_langcode", _tiny(), nullable=False),
            UniqueConstraint("name", "langcode", name=f"{name}_user__name"),
            Index(f"{name}_user__id__default_langcode__langcode", "uid", "default_langcode", "langcode"),
            Index(f"{name}_user_field__mail", "mail", mysql_length=191),
            Index(f"{name}_user_field__created", "created"),
            Index(f"{name}_user_field__access", "access"),
            **_MYSQL,
        )

    def _config(self) -> Table:
        return Table(
            f"{self._prefix}config",
            self.metadata,
            Column("collection", _ascii(255), primary_key=True),
            Column("name", _ascii(255), primary_key=True),
            Column("data", blob()),
            **_MYSQL,
        )

    def _field_table(self, field: str, columns: Mapping[str, TypeEngine[Any]]) -> Table:
        name = f"{self._prefix}user__{field}"
        nullable = len(columns) > 1
        return Table(
            name,
            self.metadata,
            Column("bundle", _ascii(128), nullable=False),
            Column("deleted", _tiny(), nullable=False),
            Column("entity_id", _unsigned(), nullable=False),
            Column("revision_id", _unsigned(), nullable=False),
            Column("langcode", _ascii(32), nullable=False),
            Column("delta", _unsigned(), nullable=False),
            *(Column(f"{field}_{part}", kind, nullable=nullable) for part, kind in columns.items()),
            # In this order, which is not that of the columns: it is what a range of users is read by.
            PrimaryKeyConstraint("entity_id", "deleted", "delta", "langcode"),
            Index(f"{name}_bundle", "bundle"),
            Index(f"{name}_revision_id", "revision_id"),
            **_MYSQL,
        )


def php_serialize(value: Any) -> bytes:
    """PHP's serialize() of plain data, as Drupal stores configuration."""
    if value is None:
        return b"N;"
    if isinstance(value, bool):
        return b"b:%d;" % value
    if isinstance(value, int):
        return b"i:%d;" % value
    if isinstance(value, str):
        data = value.encode()
        return b's:%d:"%s";' % (len(data), data)
    items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
    inside = b"".join(php_serialize(key) + php_serialize(item) for key, item in items)
    return b"a:%d:{%s}" % (len(items), inside)

"""All rows of a statement: as the driver gives them, or at once, for a process that has other things to do meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, null, select
from sqlalchemy.exc import DBAPIError

# Since then each SQLite has JSON.
_HAS_JSON = sqlite3.sqlite_version_info >= (3, 38)
# Names of SQLite's types that JSON does not give back as they were.
_NOT_IN_JSON: ColumnElement[str] = literal_column("'real blob'")


def driver_rows(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """In the statement's order, and not made into SQLAlchemy's own: that takes half as long again as to fetch them, and there is
    nothing to convert, as our columns are numbers, texts and what has no type. Raises SQLAlchemyError, as it does.
    """
    with connection.execute(statement, parameters) as result:
        assert result.cursor is not None, "of a SELECT"
        try:
            rows: Sequence[Sequence[Any]] = result.cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            raise DBAPIError(None, None, error) from error
        return rows


def all_rows(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """In the statement's order.

    SQLite gives row by row, and for each one Python lets other threads run and waits for its turn again: in a worker, whose
    event loop is busy, that takes longer than to read. As one JSON text they come in one turn. (Where nobody else is busy, as in
    the scan of a full sync, row by row is quicker.)
    """
    if connection.dialect.name != "sqlite" or not _HAS_JSON:
        return driver_rows(connection, statement, parameters)
    text, other = connection.execute(_as_json(statement), parameters).one()
    if other:
        return driver_rows(connection, statement, parameters)
    found: Sequence[Sequence[Any]] = orjson.loads(text)
    return found


@lru_cache(maxsize=256)
def _as_json(statement: Select[Any]) -> Select[Any]:
    """One row: the rows as JSON, and whether they hold anything that JSON does not give back as it was."""
    columns = statement.subquery().c
    unlike = [func.instr(_NOT_IN_JSON, func.typeof(column)) for column in columns]
    # A BLOB is an error to json_array.
    values = (func.iif(other, null(), column) for other, column in zip(unlike, columns, strict=True))
    return select(func.json_group_array(func.json_array(*values)), func.max(sum(unlike)))

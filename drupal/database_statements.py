"""The statements that read users, made once for the tables they are about: making one costs as much as running it.

Each reads by primary keys only. Those of a page read a range of uids; those of users asked for one by one, a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, FromClause, Select, and_, bindparam, select

from drupal.database_schema import FieldTable, UserTables
from drupal.fields import FieldShape


@dataclass(frozen=True, slots=True)
class FieldStatements:
    """Rows of a field by (entity_id, delta): entity_id, langcode, columns. between: :first, :last. of: :uids."""

    shape: FieldShape
    between: Select[Any]
    of: Select[Any]

    @classmethod
    def over(cls, field: FieldTable) -> FieldStatements:
        rows = field.table.c
        columns = (rows[f"{field.shape.name}_{part}"] for part in field.shape.columns)
        all_rows = (
            select(rows.entity_id, rows.langcode, *columns)
            .where(rows.deleted == 0)
            .order_by(rows.entity_id, rows.delta)
        )
        uids: BindParameter[Any] = bindparam("uids", expanding=True)
        between = rows.entity_id.between(bindparam("first"), bindparam("last"))
        return cls(field.shape, all_rows.where(between), all_rows.where(rows.entity_id.in_(uids)))


@dataclass(frozen=True, slots=True)
class UserStatements:
    """after: users by uid; :after, :limit. by_uuid: :uuids, between: :first, :last; a user without its row of
    users_field_data has name None. refs: uid and uuid of those of :uuids that are there.
    """

    after: Select[Any]
    by_uuid: Select[Any]
    between: Select[Any]
    refs: Select[Any]
    roles: FieldStatements
    fields: Sequence[FieldStatements]

    @classmethod
    @lru_cache(maxsize=4)
    def over(cls, tables: UserTables) -> UserStatements:
        users = tables.users.c
        after = base(tables).where(users.uid > bindparam("after"))
        uuids: BindParameter[Any] = bindparam("uuids", expanding=True)
        asked = and_(users.uuid.in_(uuids), users.uid > 0)
        between = and_(users.uid.between(bindparam("first"), bindparam("last")), users.uid > 0)
        return cls(
            after=after.order_by(users.uid).limit(bindparam("limit")),
            by_uuid=base(tables, outer=True).where(asked),
            between=base(tables, outer=True).where(between),
            refs=select(users.uid, users.uuid).where(asked),
            roles=FieldStatements.over(tables.roles),
            fields=tuple(FieldStatements.over(field) for field in tables.fields),
        )


def joined(tables: UserTables, *, outer: bool = False) -> FromClause:
    """Each user once: a translated user has a row for each language (FACTS "Tables")."""
    users, data = tables.users, tables.data
    return users.join(data, and_(data.c.uid == users.c.uid, data.c.default_langcode == 1), isouter=outer)


def base(tables: UserTables, *, outer: bool = False) -> Select[Any]:
    """What every user has, fields apart: uid, uuid, langcode, name, mail, timezone, status, created, changed, access,
    login.
    """
    data = tables.data.c
    texts = (data.langcode, data.name, data.mail, data.timezone)
    numbers = (data.status, data.created, data.changed, data.access, data.login)
    return select(tables.users.c.uid, tables.users.c.uuid, *texts, *numbers).select_from(
        joined(tables, outer=outer)
    )

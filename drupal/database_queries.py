"""The questions asked of a Drupal database, each within one transaction, and users made of the answers.

A page of users costs one query for the users, one for the roles and one for each mapped field, by primary keys only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    and_,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
)

from drupal.database_schema import FieldTable, UserTables
from drupal.errors import NoUsers, Unintelligible
from drupal.fields import FieldShape
from provisioning.model import FieldValue, SourceUser, Total, UserRef

AUTHENTICATED = "authenticated"
# Larger numbers fit no uid column, and PostgreSQL refuses to compare them.
LONGEST_UID = 10
_ICU = "und-x-icu"

Items = Mapping[int, Sequence[Sequence[Any]]]


class ShapeOutdated(Exception):
    """A field taken for a single one has several values by now: look at the fields again."""


def users_by_uuid(connection: Connection, tables: UserTables, ids: Sequence[str]) -> dict[str, SourceUser]:
    """Users by the uuid they were asked for by. A uuid not in the answer is not in the database.

    Raises Unintelligible for a user without its row of users_field_data: it is not gone.
    """
    # Drupal's uuid columns compare without case on MySQL and SQLite, and with case on PostgreSQL. On MySQL they are
    # ASCII, and comparing them with anything else is an error.
    asked = {spelling for uuid in ids if uuid.isascii() for spelling in (uuid, uuid.lower())}
    found = connection.execute(
        _base(tables, outer=True).where(tables.users.c.uuid.in_(sorted(asked)), tables.users.c.uid > 0)
    ).all()
    for row in found:
        if row.name is None:
            raise Unintelligible(
                f"user {row.uid} has no row with default_langcode = 1 in users_field_data; the site's data is damaged"
            )
    users = {user.uuid.lower(): user for user in _users(connection, tables, found)}
    answer = {uuid: users[uuid.lower()] for uuid in ids if uuid.lower() in users}
    if len(answer) < len(ids):
        # Somebody seems gone. In an emptied or foreign database everybody does.
        require_users(connection, tables)
    return answer


def users_after(connection: Connection, tables: UserTables, after: int, limit: int) -> list[SourceUser]:
    """The next users by uid."""
    page = _base(tables).where(tables.users.c.uid > max(after, 0)).order_by(tables.users.c.uid).limit(limit)
    return _users(connection, tables, connection.execute(page).all())


def refs_after(connection: Connection, tables: UserTables, after: int, limit: int) -> list[UserRef]:
    """The same, without roles and fields."""
    page = _refs(tables).where(tables.users.c.uid > max(after, 0)).order_by(tables.users.c.uid).limit(limit)
    return [UserRef(uid, uuid, _seconds(changed)) for uid, uuid, changed in connection.execute(page)]


def refs_changed(connection: Connection, tables: UserTables, since: int) -> list[UserRef]:
    """Users with changed >= since, by (changed, uid)."""
    changed = func.coalesce(tables.data.c.changed, 0)
    rows = _refs(tables).where(tables.users.c.uid > 0, changed >= since)
    ordered = connection.execute(rows.order_by(changed, tables.users.c.uid))
    return [UserRef(uid, uuid, _seconds(changed)) for uid, uuid, changed in ordered]


def total(connection: Connection, tables: UserTables) -> Total:
    """Of all users. Raises NoUsers."""
    uid = tables.users.c.uid
    count, uids = connection.execute(select(func.count(), func.sum(uid)).where(uid > 0)).one()
    if not count:
        require_users(connection, tables)
    return Total(count, int(uids or 0))


def totals(connection: Connection, tables: UserTables, width: int) -> dict[int, Total]:
    """By uid // width. Raises NoUsers."""
    require_users(connection, tables)
    uid = tables.users.c.uid
    number = (uid // literal_column(str(width), Integer)).label("number")
    counted = select(number, func.count(), func.sum(uid)).where(uid > 0).group_by(number)
    return {int(number): Total(count, int(uids)) for number, count, uids in connection.execute(counted)}


def uuids_between(connection: Connection, tables: UserTables, first: int, last: int) -> dict[int, str]:
    """By uid, from uid first to uid last."""
    users = tables.users.c
    asked = select(users.uid, users.uuid).where(users.uid > 0, users.uid.between(first, last))
    return {row.uid: row.uuid for row in connection.execute(asked)}


def users_matching(connection: Connection, tables: UserTables, text: str, limit: int) -> list[SourceUser]:
    """Users whose uid or uuid equals text, or whose name or mail contains it. Exact matches come first."""
    text = text.strip().replace("\0", "")
    name, mail = (_comparable(connection, column) for column in (tables.data.c.name, tables.data.c.mail))
    exact = or_(
        _is_id(tables, text), func.lower(name) == func.lower(text), func.lower(mail) == func.lower(text)
    )
    matches = or_(exact, name.icontains(text, autoescape=True), mail.icontains(text, autoescape=True))
    found = connection.execute(
        _base(tables)
        .where(tables.users.c.uid > 0, matches)
        .order_by(case((exact, 0), else_=1), tables.users.c.uid)
        .limit(limit)
    ).all()
    # A stable sort: MariaDB takes accents for nothing, and the name as it was typed is to come first.
    return sorted(_users(connection, tables, found), key=lambda user: _rank(user, text))


def count_users(connection: Connection, tables: UserTables) -> int:
    counted = connection.execute(select(func.count()).select_from(tables.users).where(tables.users.c.uid > 0))
    return int(counted.scalar_one())


def require_users(connection: Connection, tables: UserTables) -> None:
    """Raises NoUsers for a site without any: user 1 is always there, so this is not the site it should be."""
    if connection.execute(select(tables.users.c.uid).where(tables.users.c.uid > 0).limit(1)).first() is None:
        raise NoUsers(
            "this Drupal has no user at all: an emptied database, the wrong one, or the wrong table prefix; "
            "check drupal.url and drupal.table_prefix"
        )


# -- statements ----------------------------------------------------------------------------------------------


def _from(tables: UserTables, *, outer: bool = False) -> FromClause:
    """Each user once: a translated user has a row for each language (FACTS "Tables")."""
    users, data = tables.users, tables.data
    return users.join(data, and_(data.c.uid == users.c.uid, data.c.default_langcode == 1), isouter=outer)


def _base(tables: UserTables, *, outer: bool = False) -> Select[Any]:
    data = tables.data.c
    texts = (data.langcode, data.name, data.mail, data.timezone)
    numbers = (data.status, data.created, data.changed, data.access, data.login)
    return select(tables.users.c.uid, tables.users.c.uuid, *texts, *numbers).select_from(
        _from(tables, outer=outer)
    )


def _refs(tables: UserTables) -> Select[Any]:
    return select(tables.users.c.uid, tables.users.c.uuid, tables.data.c.changed).select_from(_from(tables))


def _is_id(tables: UserTables, text: str) -> ColumnElement[bool]:
    if not text.isascii():
        return false()
    same = func.lower(tables.users.c.uuid) == text.lower()
    return or_(tables.users.c.uid == int(text), same) if text.isdigit() and len(text) <= LONGEST_UID else same


def _comparable(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """PostgreSQL in the locale C folds ASCII only; ICU folds everything, where it is built in."""
    if connection.dialect.name != "postgresql":
        return column
    known = connection.exec_driver_sql(
        "SELECT 1 FROM pg_collation WHERE collname = %s AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding()))",
        (_ICU,),
    )
    return column.collate(_ICU) if known.first() else column


def _rank(user: SourceUser, text: str) -> int:
    """The id or name as typed, the mail as typed, either without case, a part of either, more than that (accents)."""
    name, mail = str(user.values["name"]), str(user.values["mail"] or "")
    if text in {str(user.uid), name} or text.lower() == user.uuid.lower():
        return 0
    if text == mail:
        return 1
    text, name, mail = text.casefold(), name.casefold(), mail.casefold()
    if text in {name, mail}:
        return 2
    return 3 if text in name or text in mail else 4


# -- users ---------------------------------------------------------------------------------------------------


def _users(connection: Connection, tables: UserTables, rows: Sequence[Any]) -> list[SourceUser]:
    """Whole users of base rows, in their order."""
    if not rows:
        return []
    languages = {row.uid: row.langcode for row in rows}
    roles = _items(connection, tables.roles, languages)
    fields = [(field.shape, _items(connection, field, languages)) for field in tables.fields]
    for shape, items in fields:
        _check_guess(shape, items.values())
    return [_user(row, roles, fields) for row in rows]


def _items(connection: Connection, field: FieldTable, languages: Mapping[int, str]) -> Items:
    """By uid, the values of each row by delta, of the user's own language only, as Drupal itself reads them."""
    rows = field.table.c
    values = (rows[f"{field.shape.name}_{part}"] for part in field.shape.columns)
    asked = (
        select(rows.entity_id, rows.langcode, *values)
        .where(rows.entity_id.in_(list(languages)), rows.deleted == 0)
        .order_by(rows.entity_id, rows.delta)
    )
    items: dict[int, list[Sequence[Any]]] = defaultdict(list)
    for uid, langcode, *columns in connection.execute(asked):
        if langcode == languages[uid]:
            items[uid].append(columns)
    return items


def _check_guess(shape: FieldShape, items: Iterable[Sequence[Any]]) -> None:
    if shape.guessed and not shape.multiple and any(len(rows) > 1 for rows in items):
        raise ShapeOutdated(shape.name)


def _user(row: Any, roles: Items, fields: Sequence[tuple[FieldShape, Items]]) -> SourceUser:
    values: dict[str, FieldValue] = {
        "uid": row.uid,
        "uuid": row.uuid,
        "name": row.name,
        "mail": row.mail or None,
        "status": bool(row.status),
        "roles": sorted({role for (role,) in roles.get(row.uid, ())} - {AUTHENTICATED}),
        "langcode": row.langcode,
        "timezone": row.timezone or None,
        "created": _seconds(row.created),
        "changed": _seconds(row.changed),
        "access": _seconds(row.access),
        "login": _seconds(row.login),
    }
    for shape, items in fields:
        values[shape.name] = shape.value(items.get(row.uid, ()))
    return SourceUser(row.uid, row.uuid, values)


def _seconds(value: Any) -> int:
    """Unix seconds, 0 for none. SQLite keeps anything in any column. Raises Unintelligible."""
    try:
        return int(value or 0)
    except (ValueError, TypeError, OverflowError):
        raise Unintelligible("the database holds a time that is no number") from None

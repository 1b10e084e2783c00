"""The questions asked of a Drupal database, each within one transaction, and users made of the answers.

A page of users costs one query for the users, one for the roles and one for each mapped field, by primary keys only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
)

from drupal.database_rows import all_rows, driver_rows
from drupal.database_schema import UserTables
from drupal.database_statements import FieldStatements, UserStatements, base, joined
from drupal.errors import NoUsers, Unintelligible
from drupal.fields import FieldShape
from provisioning.model import FieldValue, SourceUser, Total, UserRef

AUTHENTICATED = "authenticated"
TIMES = ("created", "changed", "access", "login")
# Larger numbers fit no uid column, and PostgreSQL refuses to compare them.
LARGEST_UID = 2**31 - 1
_ICU = "und-x-icu"
# Users asked for by name lie together where their uids span no more than so many times their number.
DENSE = 2
# Fewer are looked for one by one at once.
FEW = 8


class ShapeOutdated(Exception):
    """A field taken for a single one has several values by now: look at the fields again."""


def users_by_uuid(connection: Connection, tables: UserTables, ids: Sequence[str]) -> dict[str, SourceUser]:
    """Users by the uuid they were asked for by. A uuid not in the answer is not in the database.

    Raises Unintelligible for a user without its row of users_field_data: it is not gone.
    """
    statements = UserStatements.over(tables)
    found = _between_outermost(connection, statements, ids)
    if missing := _missing(ids, (uuid for _, uuid, *_ in found)):
        found = [*found, *all_rows(connection, statements.by_uuid, {"uuids": _spellings(missing)})]
    for uid, _, _, name, *_ in found:
        if name is None:
            raise Unintelligible(
                f"user {uid} has no row with default_langcode = 1 in users_field_data; the site's data is damaged"
            )
    users = {user.uuid.lower(): user for user in _users_of(connection, statements, found)}
    answer = {uuid: users[uuid.lower()] for uuid in ids if uuid.lower() in users}
    if len(answer) < len(ids):
        # Somebody seems gone. In an emptied or foreign database everybody does.
        require_users(connection, tables)
    return answer


def uuids_present(connection: Connection, tables: UserTables, ids: Sequence[str]) -> frozenset[str]:
    """Those of the uuids that are in the database, damaged users among them: they are not gone."""
    found = connection.execute(UserStatements.over(tables).refs, {"uuids": _spellings(ids)})
    there = {uuid.lower() for _, uuid in found}
    present = frozenset(uuid for uuid in ids if uuid.lower() in there)
    if len(present) < len(ids):
        require_users(connection, tables)
    return present


def _between_outermost(
    connection: Connection, statements: UserStatements, ids: Sequence[str]
) -> Sequence[Sequence[Any]]:
    """Those of the users that are found without looking for each: a full sync asks for users by the order of their uids, so the
    first and the last one say where the others lie. On SQLite each look for a uuid calls Python some twenty times, for
    Drupal's collation.
    """
    if len(ids) < FEW:
        return ()
    ends = connection.execute(statements.refs, {"uuids": _spellings((ids[0], ids[-1]))}).all()
    uids = [uid for uid, _ in ends]
    if len(uids) != 2 or not _dense(uids, len(ids)):
        return ()
    asked = {uuid.lower() for uuid in ids}
    rows = all_rows(connection, statements.between, {"first": min(uids), "last": max(uids)})
    return [row for row in rows if row[1].lower() in asked]


def _dense(uids: Sequence[int], users: int) -> bool:
    """Whether so many users between the first and the last uid lie together."""
    return max(uids) - min(uids) < DENSE * users


def _missing(ids: Sequence[str], found: Iterable[str]) -> Sequence[str]:
    there = {uuid.lower() for uuid in found}
    return [uuid for uuid in ids if uuid.lower() not in there]


def _spellings(ids: Sequence[str]) -> Sequence[str]:
    """Drupal's uuid columns compare without case on MySQL and SQLite, and with case on PostgreSQL. On MySQL they are
    ASCII, and comparing them with anything else is an error.
    """
    return sorted({spelling for uuid in ids if uuid.isascii() for spelling in (uuid, uuid.lower())})


def users_after(connection: Connection, tables: UserTables, after: int, limit: int) -> list[SourceUser]:
    """The next users by uid."""
    statements = UserStatements.over(tables)
    page = driver_rows(connection, statements.after, {"after": max(after, 0), "limit": limit})
    if not page:
        return []
    # Its first column is the uid.
    bounds = {"first": page[0][0], "last": page[-1][0]}
    return _users(statements, page, lambda field: driver_rows(connection, field.between, bounds))


def refs_after(connection: Connection, tables: UserTables, after: int, limit: int) -> list[UserRef]:
    """The same, without roles and fields."""
    page = _refs(tables).where(tables.users.c.uid > max(after, 0)).order_by(tables.users.c.uid).limit(limit)
    return _made_refs(connection.execute(page))


def refs_changed(connection: Connection, tables: UserTables, since: int) -> list[UserRef]:
    """Users with changed >= since, by (changed, uid)."""
    changed = func.coalesce(tables.data.c.changed, 0)
    rows = _refs(tables).where(tables.users.c.uid > 0, changed >= since)
    return _made_refs(connection.execute(rows.order_by(changed, tables.users.c.uid)))


def _made_refs(rows: Iterable[Sequence[Any]]) -> list[UserRef]:
    return [UserRef(uid, uuid, seconds) for uid, uuid, changed in rows for seconds in _seconds((changed,))]


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
        base(tables)
        .where(tables.users.c.uid > 0, matches)
        .order_by(case((exact, 0), else_=1), tables.users.c.uid)
        .limit(limit)
    ).all()
    # A stable sort: MariaDB takes accents for nothing, and the name as it was typed is to come first.
    users = _users_of(connection, UserStatements.over(tables), found)
    return sorted(users, key=lambda user: _rank(user, text))


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


def _refs(tables: UserTables) -> Select[Any]:
    return select(tables.users.c.uid, tables.users.c.uuid, tables.data.c.changed).select_from(joined(tables))


def _is_id(tables: UserTables, text: str) -> ColumnElement[bool]:
    if not text.isascii():
        return false()
    same = func.lower(tables.users.c.uuid) == text.lower()
    if text.isdigit() and len(text) <= len(str(LARGEST_UID)) and int(text) <= LARGEST_UID:
        return or_(tables.users.c.uid == int(text), same)
    return same


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


def _users_of(
    connection: Connection, statements: UserStatements, rows: Sequence[Sequence[Any]]
) -> list[SourceUser]:
    if not rows:
        return []
    uids = [uid for uid, *_ in rows]
    # As in a full sync. A list of uids has to be spelled out anew each time, and costs more than the rows between.
    dense = _dense(uids, len(uids))
    asked = {"first": min(uids), "last": max(uids)} if dense else {"uids": uids}
    return _users(
        statements,
        rows,
        lambda field: all_rows(connection, field.between if dense else field.of, asked),
    )


def _users(
    statements: UserStatements,
    rows: Sequence[Sequence[Any]],
    read: Callable[[FieldStatements], Iterable[Sequence[Any]]],
) -> list[SourceUser]:
    """Whole users of base rows, in their order. read: a field's rows, of these users or of more.

    Made column by column: to take each row apart, and call something for each value, takes three times as long.
    """
    uids, uuids, langcodes, names, mails, timezones, statuses, *times = zip(*rows, strict=True)
    languages = dict(zip(uids, langcodes, strict=True))
    columns: dict[str, Iterable[FieldValue]] = {
        "uid": uids,
        "uuid": uuids,
        "name": names,
        "mail": [mail or None for mail in mails],
        "status": map(bool, statuses),
        "roles": _roles(read(statements.roles), languages, uids),
        "langcode": langcodes,
        "timezone": [timezone or None for timezone in timezones],
        **dict(zip(TIMES, map(_seconds, times), strict=True)),
    }
    for field in statements.fields:
        columns[field.shape.name] = _values(field.shape, read(field), languages, uids)
    values = (dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True))
    return list(map(SourceUser, uids, uuids, values))


def _values(
    shape: FieldShape, rows: Iterable[Sequence[Any]], languages: Mapping[int, str], uids: Sequence[int]
) -> list[FieldValue]:
    """By the order of the users, the field of each in their own language only, as Drupal itself reads it."""
    own = [row for row in rows if row[1] == languages.get(row[0])]
    if shape.guessed and not shape.multiple and len({row[0] for row in own}) < len(own):
        raise ShapeOutdated(shape.name)
    if shape.multiple or len(shape.columns) > 1:
        items: dict[int, list[Sequence[Any]]] = defaultdict(list)
        for uid, _, *columns in own:
            items[uid].append(columns)
        return [shape.value(items.get(uid, ())) for uid in uids]
    # Most fields are like this one. The value of the lowest delta is the last to be taken.
    values = {uid: value for uid, _, value in reversed(own)}
    return [shape.plain(value) for value in map(values.get, uids)]


def _roles(
    rows: Iterable[Sequence[Any]], languages: Mapping[int, str], uids: Sequence[int]
) -> list[list[str]]:
    roles: dict[int, set[str]] = defaultdict(set)
    for uid, langcode, role in rows:
        if langcode == languages.get(uid) and role != AUTHENTICATED:
            roles[uid].add(role)
    return [sorted(roles.get(uid, ())) for uid in uids]


def _seconds(times: Iterable[Any]) -> list[int]:
    """Unix seconds, 0 for none. SQLite keeps anything in any column. Raises Unintelligible."""
    try:
        return [int(time or 0) for time in times]
    except (ValueError, TypeError, OverflowError):
        raise Unintelligible("the database holds a time that is no number") from None

"""Two Drupal sites for tests: the captured one (the dumps of a real Drupal 10.5.9) and a small one full of traps."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, make_url

from cli.demo.people import ADMIN
from cli.demo.site import DrupalSite
from cli.demo.tables import DrupalTables
from drupal.database_engine import nocase_utf8
from provisioning.model import SourceUser
from tests.support.databases import fresh_database

DATA = Path(__file__).parents[1] / "data"
# The fields of both sites, apart from the link of the small one.
TEXT_FIELDS = ("field_first_name", "field_last_name", "field_department")
CAPTURED_FIELDS = frozenset({*TEXT_FIELDS, "field_interests"})
TRAP_FIELDS = CAPTURED_FIELDS | {"field_homepage"}

# -- the captured site ---------------------------------------------------------------------------------------


def load_captured(kind: str, url: str) -> None:
    """Fills an empty database with the captured site: SQLite and MariaDB from the dumps Drupal's own database gave,
    PostgreSQL with the rows of the SQLite dump in tables as Drupal makes them there.
    """
    if kind == "sqlite":
        _run_sqlite_dump(sqlite3.connect(str(make_url(url).database))).close()
    elif kind == "mariadb":
        _run_mysql_dump(url)
    else:
        _copy_to(url)


def captured_users(kind: str) -> dict[int, SourceUser]:
    """What the captured site holds, by uid, read from the dump with nothing of ours. The MariaDB site is another one
    with the same members: its uuids are its own, and users 1 to 5 have other times.
    """
    dump = _run_sqlite_dump(sqlite3.connect(":memory:"))
    dump.row_factory = sqlite3.Row
    users = {
        row["uid"]: _captured_user(dump, row)
        for row in dump.execute("SELECT u.uuid, d.* FROM users u, users_field_data d WHERE u.uid = d.uid")
        if row["uid"]
    }
    dump.close()
    if kind != "mariadb":
        return users
    own = dict(re.findall(r"INSERT INTO `users` VALUES \((\d+),'([^']+)'", _dump("mysql")))
    return {
        uid: SourceUser(uid, own[str(uid)], {**user.values, "uuid": own[str(uid)]})
        for uid, user in users.items()
    }


def _captured_user(dump: sqlite3.Connection, row: sqlite3.Row) -> SourceUser:
    names = ("uid", "uuid", "name", "mail", "langcode", "timezone", "created", "changed", "access", "login")
    values: dict[str, Any] = {name: row[name] for name in names}
    values["status"] = row["status"] == 1
    values["roles"] = sorted(_captured_values(dump, "roles", "target_id", row["uid"]))
    values["field_interests"] = _captured_values(dump, "field_interests", "value", row["uid"])
    for field in TEXT_FIELDS:
        found = _captured_values(dump, field, "value", row["uid"])
        values[field] = found[0] if found else None
    return SourceUser(row["uid"], row["uuid"], values)


def _captured_values(dump: sqlite3.Connection, field: str, column: str, uid: int) -> list[str]:
    asked = f"SELECT {field}_{column} FROM user__{field} WHERE entity_id = ? ORDER BY delta"
    return [value for (value,) in dump.execute(asked, (uid,))]


def _dump(kind: str) -> str:
    return (DATA / f"drupal-users.{kind}.sql").read_text(encoding="utf-8")


def _run_sqlite_dump(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.create_collation("NOCASE_UTF8", nocase_utf8)
    connection.executescript(_dump("sqlite"))
    return connection


def _run_mysql_dump(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        for statement in _dump("mysql").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def _copy_to(url: str) -> None:
    dump = _run_sqlite_dump(sqlite3.connect(":memory:"))
    dump.row_factory = sqlite3.Row
    tables = DrupalTables("")
    engine = create_engine(url)
    # The captured tables are those of the users only: no `config`.
    copied = [
        tables.users,
        tables.data,
        tables.roles,
        *map(tables.fields.__getitem__, sorted(CAPTURED_FIELDS)),
    ]
    tables.metadata.create_all(engine, tables=copied)
    with engine.begin() as connection:
        for table in copied:
            rows = [dict(row) for row in dump.execute(f"SELECT * FROM {table.name}")]
            connection.execute(insert(table), rows)
    engine.dispose()
    dump.close()


# -- the small site ------------------------------------------------------------------------------------------

START = 1_700_000_000


class Ticks:
    """A clock that goes one second further at each look."""

    def __init__(self, start: int = START) -> None:
        self.now = start

    def __call__(self) -> float:
        self.now += 1
        return float(self.now)


def _uuid(number: int) -> str:
    return f"0b5e55ed-0000-4000-8000-{number:012d}"


def _trap(
    uid: int, name: str, mail: str | None, changed: int, *, uuid: str | None = None, **values: Any
) -> SourceUser:
    """changed: seconds after START."""
    uuid = uuid or _uuid(uid)
    base: dict[str, Any] = {"uid": uid, "uuid": uuid, "name": name, "mail": mail, "status": True, "roles": []}
    base |= {"langcode": "en", "timezone": "Europe/Berlin", "access": 0, "login": 0}
    base |= {"created": START + uid, "changed": START + changed, "field_interests": []}
    base |= {"field_first_name": None, "field_last_name": None, "field_department": None}
    base |= {"field_homepage": None}
    return SourceUser(uid, uuid, {**base, **values})


# The small site as every reader must show it. 4 was deleted, 2 translated, 5 blocked; 7 and then 6 were edited within
# one second.
TRAP_USERS: tuple[SourceUser, ...] = (
    _trap(1, "admin", "admin@drupal.test", 1, uuid=ADMIN.uuid, roles=["administrator"]),
    _trap(
        2,
        "Zoë Ångström",
        "zoe@example.test",
        2,
        roles=["editor", "member"],
        field_first_name="Zoë",
        field_last_name="Ångström",
        field_department="Youth",
        field_interests=["Chess", "Rowing", "Choir"],
        field_homepage={"uri": "https://example.test/zoe", "title": "Zoë's page", "options": []},
    ),
    _trap(3, "Zoe Angstrom, not blocked one", None, 3, roles=["member"], field_interests=["Chess"]),
    _trap(5, "blocked one", "blocked@example.test", 9, status=False, field_department="R&D; \"a\" 'b'"),
    _trap(6, "100%_new\\name", "six@example.test", 10, field_first_name="Sechs"),
    _trap(7, "山田 太郎", None, 10, roles=["editor"], field_last_name="山田"),
)


@contextmanager
def trap_site(kind: str, folder: Path, *, prefix: str = "") -> Iterator[tuple[str, DrupalSite]]:
    """The small site in a fresh database: (URL, site). It got there as sites do: by adding, editing, deleting."""
    with fresh_database(kind, folder) as url:
        clock = Ticks(START - 1)
        site = DrupalSite.create(url, prefix=prefix, clock=clock)
        try:
            _act(site, clock)
            yield url, site
        finally:
            site.close()


def _act(site: DrupalSite, clock: Ticks) -> None:
    """Every action takes one tick; the anonymous user took 0 and the administrator 1."""
    site.add_user(
        "Zoë Ångström",
        "zoe@example.test",
        uuid=_uuid(2),
        first_name="Zoë",
        last_name="Ångström",
        department="Youth",
        interests=("Chess", "Rowing", "Choir"),
        homepage=("https://example.test/zoe", "Zoë's page"),
        # Drupal never stores `authenticated`; other modules have.
        roles=("member", "authenticated", "editor"),
    )
    site.add_user(
        "Zoe Angstrom, not blocked one", None, uuid=_uuid(3), interests=("Chess",), roles=("member",)
    )
    site.add_user("leaver", "leaver@example.test", uuid=_uuid(4), interests=("Chess",), department="Gone")
    site.add_user("blocked one", "blocked@example.test", uuid=_uuid(5), department="R&D; \"a\" 'b'")
    site.add_user("old name", "old@example.test", uuid=_uuid(6), last_name="to be emptied")
    site.add_user("山田 太郎", "taro@example.test", uuid=_uuid(7), roles=("member",), last_name="山田")
    site.translate(_uuid(2), "de", department="Jugend", interests=("Schach",), first_name=None)
    site.block(_uuid(5))
    site.edit(_uuid(7), mail=None, roles=("editor",))
    clock.now -= 1
    site.edit(_uuid(6), name="100%_new\\name", mail="six@example.test", first_name="Sechs", last_name=None)
    site.delete(_uuid(4))

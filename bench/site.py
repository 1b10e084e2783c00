"""Sites too large to be made user by user: the same rows as `DrupalSite.add_people` writes, many to a statement."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url

from bench.place import someone
from cli.demo.rows import BUNDLE, LANGCODE, TIMEZONE
from cli.demo.site import DrupalSite
from drupal.database_engine import is_sqlite, nocase_utf8

BATCH = 20_000
ADMINISTRATOR = 1
# A minute from one save to the next, as on a site that grew over years; the last one an hour ago. Had all been saved in
# one moment, each poll of change detection would find them within its overlap.
SAVED_EVERY_SECONDS, LAST_SAVED_SECONDS = 60, 3600
USER = "users (uid, uuid, langcode)"
DATA = (
    "users_field_data (uid, langcode, preferred_langcode, default_langcode, name, mail, init, timezone, status, created,"
    " changed, access, login)"
)
FIELD = "user__{0} (bundle, deleted, entity_id, revision_id, langcode, delta, {0}_{1})"

Rows = Sequence[tuple[Any, ...]]


def make_large_site(url: str, users: int) -> DrupalSite:
    """A site of so many users, the administrator among them, uids without a gap.

    url: of an empty database of any of the three kinds.
    """
    site = DrupalSite.create(url)
    now = int(time.time())
    with _loading(url) as connection:
        for first in range(ADMINISTRATOR + 1, users + 1, BATCH):
            for table, rows in _rows(range(first, min(first + BATCH, users + 1)), users, now):
                _insert(connection, table, rows)
    return site


@contextmanager
def _loading(url: str) -> Iterator[Connection]:
    """One transaction. On SQLite nothing waits for the disk."""
    engine = create_engine(url)
    if is_sqlite(make_url(url)):

        def prepare(connection: Any, _record: Any) -> None:
            connection.create_collation("NOCASE_UTF8", nocase_utf8)
            connection.execute("PRAGMA synchronous=OFF")

        event.listen(engine, "connect", prepare)
    with engine.begin() as connection:
        yield connection
        if engine.dialect.name == "postgresql":
            # Its counter does not see uids that were given.
            connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence('users', 'uid'), (SELECT max(uid) FROM users))"
            )
    engine.dispose()


def _insert(connection: Connection, table: str, rows: Rows) -> None:
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(rows[0]))
    connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({marks})", list(rows))


def _rows(uids: Sequence[int], users: int, now: int) -> Iterator[tuple[str, Rows]]:
    """Each table with its columns, and the rows of these users."""
    people = [(uid, someone(uid - ADMINISTRATOR)) for uid in uids]
    yield USER, [(uid, _uuid(uid), LANGCODE) for uid in uids]
    saved = {uid: now - LAST_SAVED_SECONDS - SAVED_EVERY_SECONDS * (users - uid) for uid in uids}
    account = (LANGCODE, LANGCODE, 1)
    yield (
        DATA,
        [
            (uid, *account, each.name, each.mail, each.mail, TIMEZONE, 1, saved[uid], saved[uid], 0, 0)
            for uid, each in people
        ],
    )
    values: dict[tuple[str, str], list[str | None]] = {
        ("roles", "target_id"): [each.roles[0] for _, each in people],
        ("field_first_name", "value"): [each.first_name for _, each in people],
        ("field_last_name", "value"): [each.last_name for _, each in people],
        ("field_department", "value"): [each.department for _, each in people],
    }
    for (field, column), of_people in values.items():
        rows = [(BUNDLE, 0, uid, uid, LANGCODE, 0, value) for uid, value in zip(uids, of_people, strict=True)]
        yield FIELD.format(field, column), rows


def _uuid(uid: int) -> str:
    """As random as Drupal's, and the same each time: what is stored of it takes the room it takes in life."""
    return str(uuid.UUID(bytes=hashlib.blake2b(b"%d" % uid, digest_size=16).digest(), version=4))

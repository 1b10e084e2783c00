"""A source that cannot be read, or shows too little: nobody is removed for it, not even for a moment."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from tests.faults.proxy import FaultProxy
from tests.faults.report import FULL, full_only
from tests.faults.source_faults import SOURCE_FAULTS, JsonApiDrupal, TcpProxy
from tests.faults.world import World, world
from tests.support.databases import administrator, server_url
from tests.support.jsonapi_site import JsonApiSite

SEED = 20261128
SECONDS = 6.0 if FULL else 2.5


def through(
    made: World,
    scenario: str,
    begin: Callable[[], object],
    end: Callable[[], object],
    faults: Callable[[], int],
) -> None:
    """Syncs, polls and manual work while the source is unwell. faults: how many there were so far."""
    before = faults()
    begin()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        made.running.run("sync", "--timeout", "2", code=None)
        made.running.run("provision", *made.random.sample(list(made.people), 2), "--no-wait", code=None)
    end()
    made.injected = faults() - before
    made.settle(scenario)


def once() -> Callable[[], int]:
    """A fault that is there for the whole time counts as one."""
    return itertools.count().__next__


@pytest.mark.timeout(400)
def test_a_drupal_site_behind_something_that_is_unwell(tmp_path, report, monkeypatch):
    monkeypatch.setenv("E2E_PASSWORD", "right")
    with JsonApiSite([]) as site, FaultProxy(site.base_url, SEED, SOURCE_FAULTS) as front:
        section = (
            f'kind = "jsonapi"\nbase_url = "http://127.0.0.1:{front.port}"\nusername = "reader"\n'
            'password = { env = "E2E_PASSWORD" }'
        )
        with world(tmp_path, report, SEED, people=0, drupal=lambda _: section) as made:
            made.running.site = JsonApiDrupal(site)
            made.add(60)
            made.running.start("worker", "scheduler", "changes")
            made.running.workers_ready()
            made.settle("JSON:API, no faults")
            for fault in SOURCE_FAULTS if FULL else ("empty_listing", "half_listing"):
                made.turmoil()

                def begin(fault: str = fault) -> None:
                    front.weights = {fault: 0.7}

                through(made, f"source, {fault}", begin, front.calm, lambda: front.record.faults().total())
            assert front.record.faults()


@full_only
@pytest.mark.timeout(300)
def test_a_database_connection_that_breaks(tmp_path, report):
    place = server_url("mariadb")
    with TcpProxy(place.host or "127.0.0.1", place.port or 3306, SEED) as between:

        def section(url: str) -> str:
            through_proxy = make_url(url).set(host="127.0.0.1", port=between.port)
            return f'kind = "database"\nurl = "{through_proxy.render_as_string(hide_password=False)}"'

        with world(tmp_path, report, SEED, kind="mariadb", drupal=section) as made:
            made.running.start("worker", "scheduler", "changes")
            made.running.workers_ready()
            made.settle("database, no faults")
            for name, value in (("drop", 0.1), ("refusing", True), ("stall_seconds", 0.3)):
                made.turmoil()
                through(
                    made,
                    f"database, {name}",
                    lambda name=name, value=value: setattr(between, name, value),
                    lambda name=name, value=value: setattr(between, name, type(value)(0)),
                    lambda: between.faults,
                )
            assert between.faults


@full_only
@pytest.mark.timeout(200)
def test_a_table_that_is_missing_for_a_while(tmp_path, report):
    with world(tmp_path, report, SEED, kind="mariadb") as made:
        made.running.start("worker", "scheduler", "changes")
        made.running.workers_ready()
        made.settle("database, no faults")
        database = str(made.running.site._engine.url.database)

        def rename(one: str, other: str) -> None:
            with administrator("mariadb", database) as connection:
                connection.exec_driver_sql(f"RENAME TABLE {one} TO {other}")

        for table in ("users", "users_field_data", "user__roles"):
            made.turmoil()
            through(
                made,
                f"database, no {table}",
                lambda table=table: rename(table, "elsewhere"),
                lambda table=table: rename("elsewhere", table),
                once(),
            )


@full_only
@pytest.mark.timeout(200)
def test_an_sqlite_file_that_is_locked(tmp_path, report):
    with world(tmp_path, report, SEED) as made:
        made.running.start("worker", "scheduler", "changes")
        made.running.workers_ready()
        made.settle("SQLite, no faults")
        made.turmoil()
        released = threading.Event()
        path = str(made.running.site._engine.url.database)

        def hold() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            released.wait(20)
            connection.rollback()
            connection.close()

        threading.Thread(target=hold, daemon=True).start()
        through(made, "SQLite, locked", lambda: time.sleep(0.2), released.set, once())

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.faults.report import VARIABLE, Report
from tests.support.commands import Commands
from tests.support.valkey import valkey


def pytest_configure(config: pytest.Config) -> None:
    # Test processes inherit the controller's variable.
    if not hasattr(config, "workerinput"):
        os.environ[VARIABLE] = str(Path(tempfile.mkdtemp()) / "faults.jsonl")


def pytest_xdist_auto_num_workers() -> int:
    """Half of the time tests wait: for processes that start, for what was put off."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    with closing(Commands()) as made:
        yield made


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """The URL of an empty database on a real Valkey."""
    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    client.close()
    return valkey_server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = Report(Path(os.environ[VARIABLE])).rows()
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section("faults")
    for row in rows:
        figures = {name: value for name, value in row.items() if name != "scenario"}
        write(f"{row['scenario']:48} " + "  ".join(f"{name} {value}" for name, value in figures.items()))
    total = {name: sum(int(str(row[name])) for row in rows) for name in ("users", "faults", "violations")}
    write(
        f"{len(rows)} scenarios, {total['users']} users, {total['faults']} faults, {total['violations']} violations"
    )

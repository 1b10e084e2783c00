from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.report import FULL, VARIABLE, Report

# The longest first, so that they do not run alone at the end.
LONGEST = (
    "test_outages.py",
    "test_processes_are_killed_at_any_moment",
    "test_ordering.py",
    "test_machines.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not FULL:
        return
    long = [item for name in LONGEST for item in items if name in item.nodeid]
    short = iter([item for item in items if item not in long])
    # xdist hands out two tests to begin with: a long one, then a short one.
    paired = [each for item in long for each in (item, next(short, None)) if each is not None]
    items[:] = [*paired, *short]


@pytest.fixture(scope="session")
def report() -> Report:
    return Report(Path(os.environ[VARIABLE]))

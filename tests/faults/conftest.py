from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.report import FULL, VARIABLE, Report

# The longest first, so that they do not run alone at the end.
LONGEST = ("test_outages.py", "test_process_faults.py", "test_ordering.py", "test_machines.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if FULL:
        items.sort(
            key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
        )


@pytest.fixture(scope="session")
def report() -> Report:
    return Report(Path(os.environ[VARIABLE]))

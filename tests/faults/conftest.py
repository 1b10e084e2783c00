from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.report import VARIABLE, Report


@pytest.fixture(scope="session")
def report() -> Report:
    return Report(Path(os.environ[VARIABLE]))

"""`make audit` never takes "not looked up" for "no vulnerability"."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[3] / "requirements/audit.py"
FINE = {"name": "fine", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
WEAK = {"name": "weak", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.fixture
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        ([FINE], 0, "1 packages, no known vulnerability"),
        ([FINE, WEAK], 1, "weak 2: PYSEC-1, mended in 3"),
        ([FINE, UNKNOWN], 2, "does not know 1 of 2 packages"),
        ([UNKNOWN, WEAK], 1, "PYSEC-1"),
        ("ConnectionError", 2, "cannot be reached, nothing was checked; pip-audit says: ConnectionError"),
    ],
)
def test_what_was_found_and_what_was_not_looked_up_are_told_apart(audit, found, code, words):
    lines, said = audit.judged("run.txt", found, "pypi")
    assert said == code
    assert words in "\n".join(lines)


def test_without_pip_audit_or_a_network_it_says_so_in_one_line(audit, capsys):
    # This interpreter has no pip_audit.
    assert audit.main("osv") == 2
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert all("nothing was checked" in line and "Traceback" not in line for line in told)

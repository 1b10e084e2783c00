"""What the fault suite did, one line a scenario, gathered over all test processes and printed at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

VARIABLE = "SCIMPIPE_FAULT_REPORT"
FULL = os.environ.get("FAULTS") == "full"
# `make test` has minutes for all there is; what says most of the rest stays in it.
full_only = pytest.mark.skipif(not FULL, reason="make faults")


@dataclass(frozen=True)
class Report:
    """file: JSON lines; a line is written whole, so that several processes can."""

    file: Path

    def add(
        self, scenario: str, users: int, faults: int, violations: Sequence[str], **figures: float
    ) -> None:
        row = {
            "scenario": scenario,
            "users": users,
            "faults": faults,
            "violations": len(violations),
            **figures,
        }
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, object]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

"""What a measurement gives, and how it is put into bench/RESULTS.md.

A measurement is a module with GOALS and `measuring(folder, quick)`, a context manager that prepares what all runs share
and gives a function: one run, as figures by key. Ours and what stands beside it are figures of the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Figures = Mapping[str, float]
Once = Callable[[], Figures]


@dataclass(frozen=True)
class Goal:
    """A line of the table. ours, beside: keys of figures. at_least, at_most: what ours / beside has to be; neither: the
    line is there to be seen.
    """

    number: str
    name: str
    unit: str
    ours: str
    beside: str
    at_least: float | None = None
    at_most: float | None = None

    def line(self, runs: Sequence[Figures]) -> str:
        ours = [run[self.ours] for run in runs]
        beside = [run[self.beside] for run in runs]
        ratio = statistics.median(ours) / statistics.median(beside)
        spread = f"{_shown(min(ours))} to {_shown(max(ours))}"
        cells = (
            self.number, self.name, f"{_shown(statistics.median(ours))} {self.unit} ({spread})",
            f"{_shown(statistics.median(beside))} {self.unit}", f"{ratio:.3f}", self._wanted(), self._verdict(ratio),
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"

    def _wanted(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}" if self.at_most is not None else ""

    def _verdict(self, ratio: float) -> str:
        if self.at_least is not None:
            return "met" if ratio >= self.at_least else "not met"
        if self.at_most is not None:
            return "met" if ratio <= self.at_most else "not met"
        return ""


class Measurement(Protocol):
    """A module of bench. __doc__: what is measured and how, put under the table. GOALS: its lines."""

    __doc__: str | None
    GOALS: Sequence[Goal]

    def measuring(self, folder: Path, quick: bool) -> AbstractContextManager[Once]:
        """folder: empty, of this measurement alone. quick: small numbers, to see that it works."""


def _shown(value: float) -> str:
    """Three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"

"""How long requests took, kind by kind: enough of them to compare two lots, however mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Enough have been seen when what they took is known to a share of itself; or after so many, whatever they say.
FEWEST, MOST = 8, 512


@dataclass(slots=True)
class Lot:
    """Of one kind: how many, the sum of their seconds, and of the squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass(slots=True)
class Durations:
    lots: dict[str, Lot] = field(default_factory=dict)
    count: int = 0

    def add(self, kind: str, seconds: float) -> None:
        lot = self.lots.get(kind)
        if lot is None:
            lot = self.lots[kind] = Lot()
        lot.count += 1
        lot.total += seconds
        lot.squares += seconds * seconds
        self.count += 1

    def enough(self, allowed: int, precise: float) -> bool:
        """allowed: how many were under way; each place has to have been used once. precise: a share."""
        return self.count >= max(FEWEST, allowed) and (
            self.count >= MOST + allowed or self._doubt() <= precise
        )

    def _doubt(self) -> float:
        """Standard error of the total, as a share of it."""
        variance = sum(max(0.0, lot.squares - lot.total * lot.mean) for lot in self.lots.values())
        return math.sqrt(variance) / sum(lot.total for lot in self.lots.values())

    def with_(self, other: Durations) -> Durations:
        both = Durations(count=self.count + other.count)
        for durations in (self, other):
            for kind, lot in durations.lots.items():
                sum_ = both.lots.setdefault(kind, Lot())
                sum_.count += lot.count
                sum_.total += lot.total
                sum_.squares += lot.squares
        return both


def slower_by(base: Durations, other: Durations) -> float:
    """How much longer the other lot took, for the same mix: 1.0 is as long. 1.0 where no kind is in both."""
    common: Mapping[str, int] = {
        kind: min(lot.count, base.lots[kind].count) for kind, lot in other.lots.items() if kind in base.lots
    }
    before = sum(count * base.lots[kind].mean for kind, count in common.items())
    after = sum(count * other.lots[kind].mean for kind, count in common.items())
    return after / before if before > 0 and after > 0 else 1.0

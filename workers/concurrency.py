"""How many requests under way at once serve best, found out by trying: below the operator's limit, at the target's own.

More at a time is better as long as more gets done in a second. So two neighbouring numbers are tried one after the
other and compared by what they got done, which needs no memory of how fast the target once was: one that turns slower
for good, or a process that is itself the slow part, changes both sides alike. Each kind of request is compared with its
own, so that a mixed lot misleads nobody.

It begins by doubling every round trip while that pays, then climbs in steps, either way, ever less often while nothing
comes of it. Where two numbers get the same done the smaller is taken: what is under way beyond it only waits at the target.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from workers.durations import Durations, slower_by

# To begin with: a quarter of what the operator allows, or so many.
START, START_SHARE = 8, 4
# A doubling that gets less than this much more done is one too many; that much can be told from few requests.
WORTH_DOUBLING, ROUGH = 1.25, 0.12
STEP, LONGEST_STEP = 1.15, 2.0
# Of two numbers the larger has to get this share of the difference done, as an exponent.
WORTH = 0.15
# How well each measurement is to be known, what two of the same differ by, and by how much more nobody looks twice.
PRECISE, NOISE, PLAIN = 0.03, 0.02, 0.06
# Shorter, and one pause of this process would be the whole measurement.
SHORTEST_SECONDS = 0.1
# A comparison is left alone this long after one that changed nothing, then twice that, up to the longest.
FIRST_PATIENCE_SECONDS, LONGEST_PATIENCE_SECONDS = 2.0, 30.0
DIRECTIONS = 2
# Requests that take so much longer or shorter than they did end the patience.
SLOWER, FASTER = 1.3, 0.75


class Stage(Enum):
    """doubling: at the start; settled: nothing is tried for a while; base, trial, again: the three parts of a
    comparison, which goes back to where it began, so that what changed meanwhile is not put down to the trial.
    """

    DOUBLING = "doubling"
    SETTLED = "settled"
    BASE = "base"
    TRIAL = "trial"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Measured:
    """What so many at a time took."""

    allowed: int
    durations: Durations

    def gain(self, other: Measured) -> float:
        """How much more gets done with the other number: 2.0 is twice as much."""
        return other.allowed / self.allowed / slower_by(self.durations, other.durations)


class Concurrency:
    """The number of requests that may be under way (allowed). most: limits.concurrency. clock: monotonic seconds.

    A request takes `level` with it as it starts with all places taken, and gives it back when it has been answered; one
    from another level, or that started with places free, tells nothing.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self.allowed = min(most, max(START, most // START_SHARE))
        self.level = 0
        self._stage = Stage.DOUBLING
        self._durations = Durations()
        self._began = clock()
        self._before: Measured | None = None
        self._trial: Measured | None = None
        self._doubted = False
        self._upwards = True
        self._step = STEP
        self._patience = FIRST_PATIENCE_SECONDS
        self._settled_until = 0.0
        self._refused = 0
        self._threshold: int | None = None

    def answered(self, level: int | None, kind: str, seconds: float) -> None:
        """An answer other than a push back. level: what the request took with it; None: there were places free."""
        if level != self.level:
            return
        self._durations.add(kind, seconds)
        if not self._enough():
            return
        measured = Measured(self.allowed, self._durations)
        match self._stage:
            case Stage.DOUBLING:
                self._doubled(measured)
            case Stage.SETTLED:
                self._look(measured)
            case Stage.BASE:
                self._try(measured)
            case Stage.TRIAL:
                self._tried(measured)
            case Stage.AGAIN:
                self._compared(measured)

    def _enough(self) -> bool:
        if self._stage is Stage.DOUBLING:
            # Half of the places were taken again before the number was known to be another.
            return self._durations.enough(self.allowed // 2, ROUGH)
        long = self._clock() - self._began >= SHORTEST_SECONDS
        return long and self._durations.enough(self.allowed, PRECISE)

    def pushed_back(self) -> None:
        """The target wants less: 503, or no answer at all. Half, and doubling again up to half of what there was."""
        if self._stage is not Stage.DOUBLING or self._threshold is None:
            self._threshold = max(1, self.allowed // 2)
        self._before = None
        self._go(Stage.DOUBLING, max(1, self.allowed // 2))

    # -- doubling ------------------------------------------------------------------------------------------------

    def _doubled(self, measured: Measured) -> None:
        top = min(self._most, self._threshold or self._most)
        gain = self._before.gain(measured) if self._before else 2.0
        if gain < WORTH_DOUBLING and self._before:
            if not self._doubted:
                # New connections, or a hiccup: seen twice, or it was none.
                self._doubted = True
                self._go(Stage.DOUBLING, measured.allowed)
                return
            self._settle(round(self._before.allowed * max(1.0, gain)), at_once=True)
            return
        self._doubted = False
        if measured.allowed >= top:
            self._settle(measured.allowed)
            return
        self._before = measured
        self._go(Stage.DOUBLING, min(top, measured.allowed * 2))

    # -- climbing ------------------------------------------------------------------------------------------------

    def _settle(self, allowed: int, *, at_once: bool = False) -> None:
        self._threshold = self._before = None
        self._settled_until = self._clock() + (0.0 if at_once else self._patience)
        self._go(Stage.SETTLED, allowed)

    def _look(self, measured: Measured) -> None:
        """Settled: until the time is up, or requests take another time than they did."""
        changed = 1.0
        if self._before is None:
            self._before = measured
        else:
            changed = slower_by(self._before.durations, measured.durations)
        if not FASTER < changed < SLOWER:
            self._patience = FIRST_PATIENCE_SECONDS
        elif self._clock() < self._settled_until:
            self._go(Stage.SETTLED, self.allowed)
            return
        self._before = None
        self._go(Stage.BASE, self.allowed)

    def _try(self, measured: Measured) -> None:
        if self._other(measured.allowed) == measured.allowed:
            self._upwards = not self._upwards
        self._before = measured
        self._go(Stage.TRIAL, self._other(measured.allowed))

    def _other(self, allowed: int) -> int:
        if self._upwards:
            return min(self._most, max(allowed + 1, round(allowed * self._step)))
        return max(1, min(allowed - 1, round(allowed / self._step)))

    def _tried(self, measured: Measured) -> None:
        assert self._before is not None, "a trial has a base"
        merit = _merit(self._before, measured)
        if merit > PLAIN:
            self._adopt(measured)
        elif merit < -PLAIN:
            self._refuse(self._before)
        else:
            self._trial = measured
            self._go(Stage.AGAIN, self._before.allowed)

    def _compared(self, measured: Measured) -> None:
        assert self._before is not None, "a comparison has a base"
        assert self._trial is not None, "and a trial"
        base = Measured(measured.allowed, self._before.durations.with_(measured.durations))
        if _merit(base, self._trial) > NOISE:
            self._adopt(self._trial)
        else:
            self._refuse(measured)

    def _adopt(self, measured: Measured) -> None:
        """And on in that direction, in longer steps."""
        self._refused, self._patience = 0, FIRST_PATIENCE_SECONDS
        self._step = min(LONGEST_STEP, self._step**2)
        if self._other(measured.allowed) == measured.allowed:
            self._settle(measured.allowed)
        else:
            self._try(measured)

    def _refuse(self, base: Measured) -> None:
        """A long step is tried as a short one, then the other direction, then nothing for a while."""
        if self._step > STEP:
            self._step = STEP
            self._go(Stage.BASE, base.allowed)
            return
        self._upwards = not self._upwards
        self._refused += 1
        if self._refused < DIRECTIONS and self._other(base.allowed) != base.allowed:
            self._go(Stage.BASE, base.allowed)
            return
        self._refused = 0
        self._settle(base.allowed)
        self._patience = min(LONGEST_PATIENCE_SECONDS, self._patience * 2)

    def _go(self, stage: Stage, allowed: int) -> None:
        self._stage = stage
        self.allowed = allowed
        self.level += 1
        self._durations = Durations()
        self._began = self._clock()


def _merit(base: Measured, trial: Measured) -> float:
    """Above 0: the trial serves better. As a share of what gets done."""
    return base.gain(trial) / math.pow(trial.allowed / base.allowed, WORTH) - 1.0

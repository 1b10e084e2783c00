"""What a scan has found, from page to page until it is submitted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from producers.attendance import Attendance
from provisioning.model import Presence, SourceUser
from state.broker import USERS_A_MESSAGE

# Users submitted in one call: a message for each.
SUBMIT = USERS_A_MESSAGE
# Where few are changed, those of several pages are submitted together: a message costs a worker more than a user does. But
# nobody waits longer than this for the pages that follow.
GATHER_SECONDS = 1.0
# So many leavers are kept until all are known. More of them are soon more than the guard allows, and need not be kept.
MOST_LEAVING = 10_000


@dataclass(frozen=True, slots=True)
class Scan:
    """What one page of users amounts to: users whose account may need something; leaving: who leaves, and how;
    clearing: who would lose attributes, and which. prints: the fingerprints of the links, by the order of the page.
    """

    changed: tuple[str, ...]
    leaving: Mapping[str, Presence]
    clearing: Mapping[str, tuple[str, ...]]
    unchanged: int
    prints: Sequence[str | None]


@dataclass
class Findings:
    """Of one scan. share: users who may lose one attribute. waiting: users who are looked at again though nothing has
    changed: perhaps the reason to wait has gone. attendance: who was seen. changed: who is to be submitted with the next.
    leaving: who is submitted when their extent is known. over_budget: the run's removals are held, whatever else is found.
    """

    share: int
    waiting: frozenset[str]
    attendance: Attendance
    changed: list[str] = field(default_factory=list)
    leaving: dict[str, Presence] = field(default_factory=dict)
    over_budget: bool = False
    _counters: Counter[str] = field(default_factory=Counter)
    _submitted_to: int = 0
    _gathering_since: float = 0
    _clearing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _losing: Counter[str] = field(default_factory=Counter)
    _most_leaving: int = MOST_LEAVING

    def __post_init__(self) -> None:
        self._submitted_to = self.attendance.after

    def add(self, page: Sequence[SourceUser], scan: Scan) -> None:
        self.attendance.count(page, scan.prints)
        self.leaving.update(scan.leaving)
        self._clearing |= scan.clearing
        self._losing.update(path for paths in scan.clearing.values() for path in paths)

    def gather(self, scan: Scan) -> None:
        if not self.changed:
            self._gathering_since = time.monotonic()
        self.changed += scan.changed
        self._counters.update(scanned=len(scan.prints), unchanged=scan.unchanged)

    def gathered_enough(self) -> bool:
        waited = time.monotonic() - self._gathering_since
        return bool(self.changed) and (len(self.changed) >= SUBMIT or waited >= GATHER_SECONDS)

    def progress(self) -> tuple[int, Mapping[str, int]]:
        """The uid up to which whoever has changed is submitted: where another scanner would have to begin. And what to
        add to the run's counters, which is given once.
        """
        if self.changed:
            return self._submitted_to, {}
        self._submitted_to = self.attendance.after
        counters, self._counters = self._counters, Counter()
        return self._submitted_to, counters

    @property
    def too_many(self) -> tuple[str, ...]:
        """Attributes that more users would lose than may."""
        return tuple(path for path, users in self._losing.items() if users > self.share)

    def take_clearing(self) -> Sequence[str]:
        users = sorted(self._clearing)
        self._clearing.clear()
        return users

    def take_leaving(self) -> Mapping[str, Presence]:
        leaving = dict(sorted(self.leaving.items()))
        self.leaving.clear()
        return leaving

    def grown(self) -> bool:
        """Whether leavers have become so many that it is time to see what the guard allows; then, at twice as many."""
        grown = len(self.leaving) > self._most_leaving
        self._most_leaving *= 2 if grown else 1
        return grown

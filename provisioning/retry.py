"""When to try again: a decision is a value, not a sleep."""

from __future__ import annotations

from collections.abc import Callable

FIRST_DELAY_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 300.0
# After a write whose answer was lost: it may be on its way still, at a target that is slow. Whoever looks before a create has
# arrived makes a second account, if the user has another name by then; an update that arrives after the next one undoes it.
# Nobody shortens this wait, not even a person.
LATE_SECONDS = 5.0


def delay_seconds(attempt: int, random: Callable[[], float]) -> float:
    """Seconds until the next attempt: doubling from 2 s up to 5 min, the upper half random so that users who
    failed together do not come back together. attempt: the one that just failed, from 1. random: gives [0, 1).
    """
    longest = min(FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1), LONGEST_DELAY_SECONDS)
    return float(longest * (0.5 + random() / 2))

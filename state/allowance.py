"""What a target allows in a second, worked out from when it said 429. Pure; state.rate keeps it in Redis.

A 429 means that the target's bucket is empty (or its window used up). What was sent since the bucket was last full or last
empty, and how long that took, give the rate at which it fills. After each 429 the rate follows a curve as TCP's CUBIC
has one, only flatter at first and then steeper: level with what was found for long, then beyond it, so that a target
that allows more is found out and one that does not is asked seldom. Until there has been a second 429 nothing is known but how much
the first had let pass: the rate begins low and doubles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

# The search doubles in half a second, or in a quarter of the pause: whoever says to wait for long counts in long windows.
SHORTEST_DOUBLING_SECONDS, PAUSE_OF_DOUBLINGS = 0.5, 4
# But a wait of an hour may be for another reason than a count: the search must not crawl for hours after it.
LONGEST_PAUSE_SECONDS = 60.0
# A window shorter than this is all burst.
SHORTEST_WINDOW_SECONDS = 0.3
# Of the requests counted since a full bucket one at either end may belong elsewhere.
UNCERTAIN_REQUESTS, UNLIKELY = 2.0, 6
LEAST_DOUBT, MOST_DOUBT = 0.015, 0.15
# The surer, the later the curve leaves what was found: seconds times doubt, and the longest; never before so many requests.
LEVEL_SECONDS, LONGEST_LEVEL_SECONDS, SELDOM_REQUESTS = 1.8, 90.0, 50
LONGEST_SECONDS = 600.0
# What the search found is rough. A rate that is too high is put right in seconds, one that is too low only as the curve rises.
AT_FIRST = 1.1
# It is put to the test so soon: on a busy machine it can be half of the truth. Never sooner than a 429 makes wait.
FIRST_LEVEL_SECONDS = 4.0
# A 429 in that part of the curve, where it is as good as level, says that the burst was held for too small.
EARLY = 16
# What was found twice is asked about half as often.
CONFIRMED, LONGEST_CONFIRMED_SECONDS = 0.02, 180.0


@dataclass(frozen=True, slots=True)
class Emptied:
    """What led to a 429. Seconds count from when requests were let through again.

    sent: (second, how many had been sent by then), rising. after: seconds to the request answered 429. paused: seconds
    nothing was sent before, since the 429 before this one. burst: what a full bucket had let through once, and
    burst_seconds how long that took. pace: requests a second at the end. used: seconds the curve had been followed for.
    level_seconds: of the curve; 0: of the search. per_second: where either began.
    """

    sent: Sequence[tuple[float, int]]
    after: float
    paused: float
    burst: float
    burst_seconds: float
    pace: float
    used: float
    level_seconds: float
    per_second: float

    @property
    def early(self) -> bool:
        """While the curve was still level: what had been found was wrong."""
        return self.used < self.level_seconds / EARLY


@dataclass(frozen=True, slots=True)
class Allowance:
    """per_second: what was found. doubt: as a share of it. level_seconds: until the curve is beyond it by the doubt. burst:
    what a full bucket lets through at once.
    """

    per_second: float
    doubt: float
    level_seconds: float
    burst: float

    def pace(self, seconds: float) -> float:
        """Requests a second, after it was used for so long. state.rate's script has the same."""
        return self.per_second * (1 + self.doubt * (seconds / self.level_seconds) ** 5)


def doubling_seconds(paused: float) -> float:
    """Of the search, after a first pause of so many seconds. state.rate's script has the same."""
    return max(SHORTEST_DOUBLING_SECONDS, min(paused, LONGEST_PAUSE_SECONDS) / PAUSE_OF_DOUBLINGS)


def found(emptied: Emptied) -> Allowance:
    """The rate at which the bucket fills: no window of time can have let through more than a full bucket and what came in
    meanwhile, and the one that began as the bucket was last full let through just that.
    """
    # All but the one that was refused.
    total = max(0, _sent_by(emptied, emptied.after) - 1)
    # Since the 429 before nothing but what came in: less than the truth only if the bucket ran over meanwhile.
    whole = emptied.paused + emptied.after
    least, most = max(total, 1) / whole, emptied.pace
    if emptied.early:
        # By a burst that was held for too small, most likely: between what it must be and what it cannot be.
        middle = min(most, math.sqrt(least * most))
        return _allowance(middle, most / middle - 1, total - middle * emptied.after)
    found_so, window = _by_windows(emptied, total)
    per_second = max(least, min(found_so, most))
    # With the bucket full at the start and nothing spilt it held no more than this.
    burst = min(_burst(emptied, per_second), total * emptied.paused / whole)
    if not emptied.level_seconds:
        return _searched(emptied, min(most, per_second * AT_FIRST), burst)
    doubt = UNCERTAIN_REQUESTS / (per_second * (window if found_so > least else whole))
    # As far as the burst was held for larger than it is the truth lies higher, though below what was sent at the end.
    allowance = _allowance(per_second, max(doubt, (most / per_second - 1) / UNLIKELY), burst)
    if abs(per_second / emptied.per_second - 1) < CONFIRMED:
        level_seconds = min(2 * emptied.level_seconds, LONGEST_CONFIRMED_SECONDS)
        return replace(allowance, level_seconds=max(allowance.level_seconds, level_seconds))
    return allowance


def _searched(emptied: Emptied, per_second: float, burst: float) -> Allowance:
    allowance = _allowance(per_second, MOST_DOUBT, burst)
    soon = max(FIRST_LEVEL_SECONDS, emptied.paused, SELDOM_REQUESTS / per_second)
    return replace(allowance, level_seconds=min(allowance.level_seconds, soon))


def _by_windows(emptied: Emptied, total: int) -> tuple[float, float]:
    """The most that a window says, and how many seconds that one was."""
    best, window = 0.0, 1.0
    for second, count in emptied.sent:
        # A full bucket less this one, and what came in: so it was with the burst, too.
        length = emptied.after - second - emptied.burst_seconds
        if length < SHORTEST_WINDOW_SECONDS:
            break
        rate = (total - count - (emptied.burst - 1)) / length
        if rate > best:
            best, window = rate, length
    return best, window


def _burst(emptied: Emptied, per_second: float) -> float:
    """Less what came in meanwhile, if that can be told."""
    return max(emptied.burst / 2, emptied.burst - per_second * emptied.burst_seconds)


def _allowance(per_second: float, doubt: float, burst: float) -> Allowance:
    doubt = min(MOST_DOUBT, max(LEAST_DOUBT, doubt))
    level_seconds = max(min(LONGEST_LEVEL_SECONDS, LEVEL_SECONDS / doubt), SELDOM_REQUESTS / per_second)
    return Allowance(per_second, doubt, min(LONGEST_SECONDS, level_seconds), max(1.0, burst))


def _sent_by(emptied: Emptied, second: float) -> int:
    return max((count for at, count in emptied.sent if at <= second), default=0)

"""What a target allows in a second, worked out from when it said 429. Pure; state.rate keeps it in Redis.

A 429 means that the target's bucket is empty (or its window used up). What was sent since the bucket was last full or last
empty, and how long that took, give the rate at which it fills. After each 429 the rate follows a curve as TCP's CUBIC
has one, only flatter at first and then steeper: level with what was found for long, then beyond it, so that a target
that allows more is found out and one that does not is asked seldom. Until there has been a second 429 nothing is known but how much
the first had let pass: the rate begins low and doubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Where the search begins nothing is known; it doubles in so many seconds.
DOUBLING_SECONDS = 0.5
# A window shorter than this is all burst.
SHORTEST_WINDOW_SECONDS = 0.3
# Of the requests counted since a full bucket one at either end may belong elsewhere.
UNCERTAIN_REQUESTS = 2.0
LEAST_DOUBT, MOST_DOUBT = 0.015, 0.15
# The surer, the later the curve leaves what was found: seconds times doubt, and the longest; never before so many requests.
LEVEL_SECONDS, LONGEST_LEVEL_SECONDS, SELDOM_REQUESTS = 1.8, 90.0, 50


@dataclass(frozen=True, slots=True)
class Emptied:
    """What led to a 429. Seconds count from when requests were let through again.

    sent: (second, how many had been sent by then), rising. after: seconds to the request answered 429. paused: seconds
    nothing was sent before, since the 429 before this one. burst: what a full bucket had let through once, and
    burst_seconds how long that took. pace: requests a second at the end.
    """

    sent: Sequence[tuple[float, int]]
    after: float
    paused: float
    burst: float
    burst_seconds: float
    pace: float


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
        """Requests a second, so long after requests were let through again. state.rate's script has the same."""
        return self.per_second * (1 + self.doubt * (seconds / self.level_seconds) ** 5)


def found(emptied: Emptied) -> Allowance:
    """The rate at which the bucket fills: no window of time can have let through more than a full bucket and what came in
    meanwhile, and the one that began as the bucket was last full let through just that.
    """
    # All but the one that was refused.
    total = max(0, _sent_by(emptied, emptied.after) - 1)
    # Since the 429 before nothing but what came in: less than the truth only if the bucket ran over meanwhile.
    whole = emptied.paused + emptied.after
    best, window = total / whole, whole
    for second, count in emptied.sent:
        # A full bucket less this one, and what came in: so it was with the burst, too.
        length = emptied.after - second - emptied.burst_seconds
        if length < SHORTEST_WINDOW_SECONDS:
            break
        rate = (total - count - (emptied.burst - 1)) / length
        if rate > best:
            best, window = rate, length
    per_second = max(min(best, emptied.pace), 1 / whole)
    doubt = UNCERTAIN_REQUESTS / (per_second * window)
    if window == whole:
        doubt = max(doubt, (emptied.pace / per_second - 1) / 4)
    doubt = min(MOST_DOUBT, max(LEAST_DOUBT, doubt))
    level_seconds = max(min(LONGEST_LEVEL_SECONDS, LEVEL_SECONDS / doubt), SELDOM_REQUESTS / per_second)
    # With the bucket full at the start and nothing spilt it held no more than this.
    burst = min(emptied.burst - per_second * emptied.burst_seconds, total * emptied.paused / whole)
    return Allowance(per_second, doubt, min(600.0, level_seconds), max(1.0, burst))


def _sent_by(emptied: Emptied, second: float) -> int:
    return max((count for at, count in emptied.sent if at <= second), default=0)

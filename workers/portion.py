"""How many users of a message a worker takes on at once.

What a message costs (3 ms, most of it for reading Drupal) is spread over its users, so at a target that answers at once a whole
message is best. At a slow one it would keep its users for minutes: a person who wants one of them done has to wait until
that one is through, and other workers end with nothing to do. So each takes what it can do in a second, all its threads together.
"""

from __future__ import annotations

from state.broker import USERS_A_MESSAGE

SECONDS = 1.0
# Enough of them for one look at the listing (workers.batch, MANY), and for a message to cost less than they do.
FEWEST = 25
# To begin with, some rounds of the target's concurrency.
ROUNDS = 4


class Portion:
    """One for each target in each worker process. concurrency: the most requests under way at the target."""

    def __init__(self, concurrency: int) -> None:
        self.size = _within(ROUNDS * concurrency)

    def of(self, users: int) -> int:
        """How many to take of so many. Parts of one size: a small rest would cost as much as a whole message."""
        return -(-users // -(-users // self.size))

    def took(self, users: int, seconds: float) -> None:
        """Learns from a portion. users: those of it that are done; whoever was handed back tells nothing."""
        if 2 * users < self.size:
            # Too few to tell.
            return
        wanted = users * SECONDS / max(seconds, 1e-6)
        self.size = _within(round(max(self.size / 2, min(wanted, self.size * 2))))


def _within(users: int) -> int:
    return max(FEWEST, min(USERS_A_MESSAGE, users))

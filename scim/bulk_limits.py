"""How large a Bulk request may be, and whether there is to be one: what the target announces, refuses, and takes its time for.

What it refused is kept as quirks. How long it takes is learned anew by each process: few operations to begin with, then
twice as many as long as the answers come in good time. A request that outlasts its timeout leaves everybody in it in doubt,
so the first one must not be the largest.
"""

from __future__ import annotations

import time

from scim.discovery import Discovery, Features
from scim.errors import ScimError
from scim.quirks import NO_BULK, QuirkStore, bulk_bytes, bytes_of

FIRST_OPERATIONS, FEWEST_OPERATIONS = 20, 2
# Beyond these nothing is gained, and more would be in doubt at once.
MOST_OPERATIONS = 1000
MOST_BYTES = 1024 * 1024
# Below this hardly two operations fit.
LEAST_BYTES = 512
# Of limits.timeout_seconds: longer than this an answer should not take.
TIMEOUT_SHARE = 1 / 6
# In a row: some refuse a Bulk request for one user's sake, others refuse each.
REFUSALS = 5
# A target that offers no Bulk is asked again after this long, which costs nobody anything while features are known; one where it
# failed, the few users of one request an attempt.
OFF_SECONDS = 60.0


class BulkLimits:
    """Of one target in one process. operations, payload_bytes: the most of one request now."""

    def __init__(self, discovery: Discovery, quirks: QuirkStore, timeout_seconds: float) -> None:
        self._discovery = discovery
        self._quirks = quirks
        self._good_seconds = timeout_seconds * TIMEOUT_SHARE
        self._most = MOST_OPERATIONS
        self._allowed = FIRST_OPERATIONS
        self._refusals = self._put_offs = 0
        self._off_until = float("-inf")
        self.payload_bytes = MOST_BYTES

    @property
    def operations(self) -> int:
        return min(self._allowed, self._most)

    @property
    def off(self) -> bool:
        """Whether it is known that there is no Bulk."""
        return time.monotonic() < self._off_until

    async def offered(self) -> bool:
        """Takes in what is announced and remembered. Raises what the quirks' store raises."""
        try:
            features = await self._discovery.features()
        except ScimError:
            # The requests of their own that follow meet the same trouble, and say whose it is.
            features = Features()
        if self.off:
            return False
        words = await self._quirks.items()
        self._most = min(MOST_OPERATIONS, features.max_operations or MOST_OPERATIONS)
        self.payload_bytes = min(
            MOST_BYTES, features.max_payload_bytes or MOST_BYTES, *filter(None, map(bytes_of, words))
        )
        if features.bulk and NO_BULK not in words and self._most > 1 and self.payload_bytes >= LEAST_BYTES:
            return True
        self._leave_alone()
        return False

    # -- what became of a request of so many operations -----------------------------------------------------------

    def answered(self, count: int, seconds: float) -> None:
        self._refusals = self._put_offs = 0
        if seconds > self._good_seconds:
            self._allowed = max(FEWEST_OPERATIONS, int(count * self._good_seconds / seconds))
        elif count >= self._allowed:
            self._allowed = min(MOST_OPERATIONS, 2 * count)

    def lost(self, count: int) -> None:
        """No whole answer, or 5xx: perhaps because it took too long. Where two are too many it is left alone for a while."""
        if count <= FEWEST_OPERATIONS:
            self._leave_alone()
        self._allowed = max(FEWEST_OPERATIONS, count // 2)

    def put_off(self) -> None:
        """Not now, says the target: again and again it is left alone for a while, as the others' requests may go through."""
        self._put_offs += 1
        if self._put_offs >= REFUSALS:
            self._allowed = FEWEST_OPERATIONS
            self._leave_alone()

    def _leave_alone(self) -> None:
        self._off_until = time.monotonic() + OFF_SECONDS

    async def too_large(self, count: int, size: int) -> None:
        """413, of so many bytes. Raises what the quirks' store raises."""
        # Too many operations or too many bytes? Half the bytes are half the operations, and stay so however large the
        # next ones are.
        self._allowed = max(FEWEST_OPERATIONS, count // 2)
        await self._quirks.add(bulk_bytes(size // 2))

    async def refused(self) -> None:
        """The request itself was refused, or answered with what says nothing of anybody. Raises as too_large does."""
        self._refusals += 1
        if self._refusals >= REFUSALS:
            await self.missing()

    async def missing(self) -> None:
        """There is no Bulk, whatever is announced. Raises as too_large does."""
        self._leave_alone()
        await self._quirks.add(NO_BULK)

"""Who waits for a Bulk request, and what one request carries: settled when it has its turn, not before."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from provisioning.applying import LeaseLostError
from provisioning.ports import Lease
from scim.bulk_message import BETWEEN_BYTES, Operation, bulk_request
from scim.errors import ScimError
from scim.transport import SENT, SHARED, TOLD, Answer

# None: send it in a request of its own.
Outcome = Answer | Exception | None


class NoCompanyError(Exception):
    """Of those who waited hardly anybody is left: they have gone, or another request took them along."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One user's write. sent, lease: of the user (scim.transport)."""

    operation: Operation
    outcome: asyncio.Future[Outcome]
    sent: list[str] | None
    lease: Lease | None

    @property
    def bytes(self) -> int:
        return len(self.operation.text) + BETWEEN_BYTES

    def settle(self, outcome: Outcome) -> None:
        """Whoever was cancelled meanwhile is told nothing: the link says that a request was under way."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def told(self, answer: Answer) -> None:
        """What the target says of this operation, and not of the request."""
        if self.sent and self.sent[-1] == SHARED:
            self.sent[-1] = TOLD
        self.settle(answer)

    def has_left(self) -> bool:
        """Cancelled a moment ago, or of a lost lease, which it is told."""
        if self.lease is not None and not self.lease.valid():
            self.settle(LeaseLostError())
        return self.outcome.done()


class Load:
    """Of one request. take: gives it. waiting: empty until it is filled."""

    def __init__(self, take: Callable[[], Sequence[Waiting]]) -> None:
        self._take = take
        self._content = b""
        self._filled_at = 0.0
        self.filled = False
        self.waiting: Sequence[Waiting] = ()

    def fill(self) -> None:
        self.filled, self._filled_at = True, time.monotonic()
        self.waiting = self._take()

    def content(self) -> bytes:
        """Asked for by the transport once there is room to send it, and again after a redirect or with a new token: then
        without those who have left meanwhile. Raises NoCompanyError.
        """
        if not self.filled:
            self.fill()
            if len(self.waiting) < 2:
                self.settle(None)
                raise NoCompanyError
            self._count()
        else:
            self.waiting = [each for each in self.waiting if not each.has_left()]
            if not self.waiting:
                raise NoCompanyError
        self._content = bulk_request([each.operation for each in self.waiting])
        return self._content

    def _count(self) -> None:
        """It is one request, which the first user counts; something was sent for each of the others too."""
        first, *others = self.waiting
        SENT.set(first.sent)
        for each in others:
            if each.sent is not None:
                each.sent.append(SHARED)

    @property
    def bytes(self) -> int:
        return len(self._content)

    @property
    def seconds(self) -> float:
        """Since it was filled."""
        return time.monotonic() - self._filled_at

    def settle(self, outcome: Outcome) -> None:
        """The same for everybody."""
        for each in self.waiting:
            # One error raised in many tasks would gather the tracebacks of them all.
            each.settle(copy.copy(outcome) if isinstance(outcome, ScimError) else outcome)

    def cancel(self) -> None:
        for each in self.waiting:
            each.outcome.cancel()

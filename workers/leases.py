"""Keeping leases alive while the work goes on, and knowing without asking when one is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from scim.wire import ARRIVES_SECONDS

LEASE_SECONDS = 30.0
# Two renewals may fail before nothing more is written, and three before another worker is given the user.
RENEW_SECONDS = LEASE_SECONDS / 4
# A lease counts as lost here before it is lost in Redis: what was sent last has arrived by then, or never does.
MARGIN_SECONDS = ARRIVES_SECONDS + 2.0


# Goes on while the machine sleeps, as Redis' clock does; time.monotonic stands still then, on Linux.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds since this machine was started."""
    return time.clock_gettime(_CLOCK)


class Renewer(Protocol):
    """The part of the ledger that extends leases."""

    async def renew(self, users: Sequence[str], owner: str, lease_seconds: float) -> Sequence[str]: ...


class HeldLeases:
    """The leases of one batch in one worker, its holder. Deadlines are by `clock`. asked_at: when Redis was asked for them, from when on it counts."""

    def __init__(
        self,
        users: Sequence[str],
        holder: str,
        asked_at: float,
        clock: Callable[[], float] = clock,
    ) -> None:
        self.holder = holder
        self._clock = clock
        self._deadlines = dict.fromkeys(users, asked_at + LEASE_SECONDS - MARGIN_SECONDS)

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(self._deadlines)

    def extended(self, users: Sequence[str], asked_at: float) -> None:
        """Redis has extended these, counted from when it was asked; all others are lost."""
        self._deadlines = {
            user: asked_at + LEASE_SECONDS - MARGIN_SECONDS for user in users if user in self._deadlines
        }

    def release(self, user: str) -> None:
        self._deadlines.pop(user, None)

    def valid(self, user: str) -> bool:
        return self._clock() < self._deadlines.get(user, 0.0)

    def now(self) -> float:
        return self._clock()


class UserLease:
    """provisioning.ports.Lease for one user of a batch."""

    def __init__(self, leases: HeldLeases, user: str) -> None:
        self.holder = leases.holder
        self._leases = leases
        self._user = user
        self._waived = False

    def valid(self) -> bool:
        return self._waived or self._leases.valid(self._user)

    def waive(self) -> None:
        self._waived = True


@asynccontextmanager
async def keep(
    ledger: Renewer, owner: str, users: Sequence[str], asked_at: float
) -> AsyncIterator[HeldLeases]:
    """Renews the leases of these users until the block ends. asked_at: for them, by `clock`.

    A renewal that fails is tried again at the next turn; the deadline is what protects the user meanwhile.
    """
    leases = HeldLeases(users, owner, asked_at)
    task = asyncio.create_task(_renew(ledger, owner, leases))
    try:
        yield leases
    finally:
        task.cancel()


async def _renew(ledger: Renewer, owner: str, leases: HeldLeases) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        if not leases.users:
            return
        asked_at = leases.now()
        try:
            leases.extended(await ledger.renew(leases.users, owner, LEASE_SECONDS), asked_at)
        except Exception:  # noqa: S112  # tried again at the next turn; the deadlines protect the users meanwhile
            continue

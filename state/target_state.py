"""Everything remembered of one target, and submitting users for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dramatiq
import redis

from config.settings import OperationName, TargetSettings, Trigger
from state.broker import USERS_A_MESSAGE, lane_of, messages_waiting, send
from state.client import Redis
from state.gate import Gate
from state.guard import RemovalGuard
from state.history import History
from state.ledger import BULK, INTERACTIVE, Ledger
from state.links import LinkStore
from state.memory import QuirkStore, RewrittenStore
from state.runs import Runs

# Messages that wait, beside those that everybody who is pending needs.
ENOUGH_WAITING = 100


@dataclass(frozen=True, slots=True)
class TargetState:
    """The state of one target, in Redis, and the queue beside it."""

    target: str
    client: Redis
    ledger: Ledger
    links: LinkStore
    quirks: QuirkStore
    rewritten: RewrittenStore
    guard: RemovalGuard
    gate: Gate
    history: History
    runs: Runs
    broker: dramatiq.Broker

    @classmethod
    def of(cls, client: Redis, broker: dramatiq.Broker, settings: TargetSettings) -> TargetState:
        name = settings.name
        quirks = QuirkStore(client, name)
        return cls(
            target=name,
            client=client,
            ledger=Ledger(client, name),
            links=LinkStore(client, name, settings.mapping),
            quirks=quirks,
            rewritten=RewrittenStore(quirks, settings),
            guard=RemovalGuard(client, name, settings.guard),
            gate=Gate(client, name),
            history=History(client, name),
            runs=Runs(client, name),
            broker=broker,
        )

    async def submit(
        self,
        users: Sequence[str],
        trigger: Trigger,
        *,
        operations: frozenset[OperationName] | None = None,
        run_id: str | None = None,
    ) -> Mapping[str, int]:
        """Marks users pending, any number of them, and sends messages for those who were not. Gives what to wait for: user ->
        generation.

        A message that cannot be sent is no loss: the users are pending, and the sweeper sends another.
        """
        generations: dict[str, int] = {}
        # Redis does nothing else while it marks them.
        for start in range(0, len(users), USERS_A_MESSAGE):
            some = users[start : start + USERS_A_MESSAGE]
            marked = await self.ledger.mark_pending(some, trigger, operations=operations, run_id=run_id)
            await self.send(marked.to_send, lane_of(trigger))
            generations |= marked.generations
        return generations

    async def send(
        self, users: Sequence[str], lane: str, delay_seconds: float = 0, at_most: int = USERS_A_MESSAGE
    ) -> None:
        """Sends a message for every `at_most` pending users; what fails is left to the sweeper."""
        if users:
            with contextlib.suppress(redis.RedisError, dramatiq.errors.BrokerError):
                await asyncio.to_thread(send, self.broker, self.target, users, lane, delay_seconds, at_most)

    async def resend(self) -> Mapping[str, int]:
        """Sends a message for whoever waits without one, the interactive lane first. Gives how many, by lane."""
        resent: dict[str, int] = {}
        pending = (await self.ledger.counts()).pending
        for lane in (INTERACTIVE, BULK):
            waiting = await messages_waiting(self.client, lane)
            # For everybody: where no worker takes them, more would only fill Redis.
            enough = waiting > ENOUGH_WAITING + 2 * pending // USERS_A_MESSAGE
            while users := await self.ledger.sweep(lane, only_lost=enough):
                await self.send(users, lane)
                resent[lane] = resent.get(lane, 0) + len(users)
                if waiting:
                    # Most of the others' are among those: at a slow target all would be sent again and again.
                    break
        return resent

    async def hurry(self) -> None:
        """Whoever waits for a back-off is tried now."""
        for lane, users in (await self.ledger.hurry()).items():
            await self.send(users, lane)

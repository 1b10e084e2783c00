"""The queue beside the ledger: dramatiq over Redis, used as a hint (DESIGN 1.2).

There is no Retries middleware: the ledger owns retrying, and dramatiq's would store tracebacks in Redis and lose a
message whose re-enqueueing fails. A message carries a target's name and user ids, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
from dramatiq.middleware import Middleware

from config.settings import Settings, Trigger
from state.client import Redis
from state.connection import sync_client
from state.consumer import WakingBroker
from state.keys import QUEUE
from state.ledger import BULK, INTERACTIVE

# Producers submit so many at a time. A worker that is to do fewer at a time sends the rest on.
USERS_A_MESSAGE = 500
ACTORS = {INTERACTIVE: "reconcile_interactive", BULK: "reconcile_bulk"}
# A message of ours that died is of no use: the sweeper sends another.
DEAD_MESSAGE_MS = 3_600_000


def lane_of(trigger: Trigger) -> str:
    """Manual and automatic work is never behind a full sync."""
    return BULK if trigger is Trigger.SCHEDULED else INTERACTIVE


def make_broker(settings: Settings, middleware: Sequence[Middleware] = ()) -> WakingBroker:
    """Does not connect yet. Raises RedisUnavailable."""
    broker = WakingBroker(
        middleware, client=sync_client(settings), namespace=QUEUE, dead_message_ttl=DEAD_MESSAGE_MS
    )
    for queue in ACTORS:
        broker.declare_queue(queue)
    return broker


async def messages_waiting(client: Redis, lane: str) -> int:
    """How many no worker has fetched yet, delayed ones not counted."""
    return int(await client.llen(f"{QUEUE}:{lane}"))


def send(
    broker: dramatiq.Broker,
    target: str,
    users: Sequence[str],
    lane: str,
    delay_seconds: float = 0,
    at_most: int = USERS_A_MESSAGE,
) -> None:
    """Sends a message for every `at_most` users. Blocks for a moment; raises what redis-py raises."""
    delay = round(delay_seconds * 1000) or None
    for start in range(0, len(users), at_most):
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=lane,
            actor_name=ACTORS[lane],
            args=(target, list(users[start : start + at_most])),
            kwargs={},
            options={},
        )
        broker.enqueue(message, delay=delay)

"""What tests of the ledger begin with: results, and a body that is run with a ledger on a real Valkey."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from config.settings import OperationName, Trigger
from provisioning.model import Job, OutcomeName, Result
from state.ledger import Ledger
from tests.support.valkey import with_redis

LEASE = 30.0


def result(job: Job, outcome: OutcomeName = OutcomeName.DONE, **known: object) -> Result:
    base = {"target": "acme", "user": job.user, "trigger": Trigger.MANUAL, "operation": OperationName.CREATE}
    return Result(**{**base, "outcome": outcome, **known})


def with_ledger(redis_url: str, body: Callable[[Ledger, Any], Awaitable[None]]) -> None:
    """body: given the ledger and the client."""
    with_redis(redis_url, lambda client: body(Ledger(client, "acme"), client))

"""What the tests of Bulk share: users who are written at the same moment, and what was sent for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from provisioning.model import Changes, Desired
from scim.transport import LEASE
from tests.support.bulk_target import BulkTarget
from tests.support.fakes import HeldLease
from tests.support.opened_target import with_target
from tests.support.scripted_target import ScriptedTarget

TITLE = Changes(set={"title": "x"})
WANTED = Desired({"userName": "n", "title": "x"})


async def create_all(target: Any, names: Sequence[str]) -> list[Any]:
    """Of each its account, or the error it got."""
    return await asyncio.gather(
        *(target.create({"userName": name}) for name in names), return_exceptions=True
    )


async def create_leased(target: Any, names: Sequence[str], leases: Sequence[HeldLease]) -> list[Any]:
    """The same, each with a lease of its own."""

    async def one(name: str, lease: HeldLease) -> Any:
        LEASE.set(lease)
        return await target.create({"userName": name})

    return await asyncio.gather(*map(one, names, leases), return_exceptions=True)


def names(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def run(script: BulkTarget, body: Any, **known: Any) -> tuple[Any, ScriptedTarget]:
    with ScriptedTarget(script) as server:
        return with_target(server.base_url, body, **known), server


def kinds(results: Sequence[Any]) -> Counter[str]:
    return Counter(type(each).__name__ for each in results)


def writes(server: ScriptedTarget) -> Counter[tuple[str, str]]:
    return Counter((each.method, each.path) for each in server.requests if each.method != "GET")

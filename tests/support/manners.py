"""What the tests of targets' manners share: one account, one change, and answers as targets give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provisioning.model import Changes, Desired
from tests.support.scripted_target import Answer, Request

CANARY = "canary-value"
ANNA = {"id": "a/1 ?ü", "userName": "anna", "externalId": "x-1", "active": True}
CHANGES = Changes(set={"displayName": "New"})
ACCOUNTS = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 26)]
WANTED = Desired({"userName": "anna", "displayName": "New"})


def listing(*accounts: Any, total: int | None = None) -> Answer:
    return Answer(
        body={"totalResults": len(accounts) if total is None else total, "Resources": list(accounts)}
    )


def no_discovery(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """A target without ServiceProviderConfig."""
    return lambda request: Answer(404) if request.path == "/ServiceProviderConfig" else answer(request)


async def collect(target: Any) -> list[str]:
    return [account.scim_id async for page in target.listing() for account in page]


def page(request: Request, accounts: list[Any], cap: int, total: int | None = None) -> Answer:
    start = int(request.query.get("startIndex", 1))
    count = min(int(request.query.get("count", cap)), cap)
    return listing(*accounts[start - 1 : start - 1 + count], total=len(accounts) if total is None else total)

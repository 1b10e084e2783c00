"""Reading all accounts, page by page: index paging (RFC 7644 3.4.2.4) or cursors (RFC 9865).

Pages may be short, repeated or unordered, `count` may be capped and `totalResults` wrong. What cannot be shown to be
whole raises: a listing that ends early would make people look as if they had left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from provisioning.model import RemoteUser
from scim.errors import ListingIncomplete, StatusError, UnusableAnswer, status_error
from scim.transport import Answer, Transport

PAGE = 200


def accounts_of(answer: Answer) -> list[RemoteUser]:
    """The resources of a ListResponse; none where there is no `Resources` (RFC 7644 3.4.2)."""
    resources = answer.body.get("Resources") if isinstance(answer.body, Mapping) else None
    return [account for each in resources or () if (account := read_account(each)) is not None]


def read_account(resource: Any, version: str | None = None) -> RemoteUser | None:
    if not isinstance(resource, Mapping) or resource.get("id") in (None, ""):
        return None
    meta = resource.get("meta")
    known = meta.get("version") if isinstance(meta, Mapping) else None
    return RemoteUser(str(resource["id"]), version or (str(known) if known else None), resource)


async def pages(transport: Transport, *, cursors: bool, count: int = PAGE) -> AsyncIterator[list[RemoteUser]]:
    """Every account once. Raises ListingIncomplete and what a request raises."""
    seen: set[str] = set()
    total = 0
    start, cursor = 1, ""
    while True:
        params: dict[str, str | int] = {"count": count}
        params |= {"cursor": cursor} if cursors else {"startIndex": start}
        answer = _page(await transport.request("GET", "/Users", params=params))
        accounts = accounts_of(answer)
        new = [account for account in accounts if account.scim_id not in seen]
        seen.update(account.scim_id for account in new)
        total = max(total, _number(answer.body.get("totalResults")))
        if new:
            yield new
        cursor = str(answer.body.get("nextCursor") or "")
        start += len(accounts)
        if cursors and cursor:
            if not new and accounts:
                raise ListingIncomplete("the target repeats a page of its listing")
            continue
        if cursors or not accounts or not new:
            break
        if len(seen) >= total and not await _more(transport, start):
            break
    if len(seen) < total:
        raise ListingIncomplete(f"the target says it has {total} users but listed {len(seen)}")


async def _more(transport: Transport, start: int) -> bool:
    """TotalResults may be too small: only an empty or repeated page is the end. One request more a listing."""
    answer = await transport.request("GET", "/Users", params={"startIndex": start, "count": 1})
    return answer.status == 200 and isinstance(answer.body, Mapping) and bool(accounts_of(answer))


def _page(answer: Answer) -> Answer:
    if answer.status == 404:
        return Answer(200, answer.headers, {})
    if answer.status >= 400:
        error: StatusError = status_error(answer.status, answer.headers, answer.body)
        raise error
    if not isinstance(answer.body, Mapping):
        raise UnusableAnswer("the target answered a listing with something that is not SCIM")
    return answer


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0

"""Faults of a target: what can happen to one request, each a function over the proxy's view of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

STALL_SECONDS = 4.0
# Operations of a Bulk request, whatever is announced.
UNANNOUNCED_MOST = 6
HUGE_BYTES = 60 * 1024 * 1024
_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@dataclass(frozen=True)
class Reply:
    """What goes back. cut: only so many bytes, then the connection breaks. silent: it breaks at once. huge: so many
    bytes more.
    """

    status: int = 200
    content: bytes = b""
    content_type: str = "application/scim+json"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    silent: bool = False
    huge: int = 0


@dataclass(frozen=True)
class Call:
    """One request on its way. forward: sends it to the server, once. body: its JSON, if it has any."""

    method: str
    path: str
    query: dict[str, str]
    forward: Callable[[], Awaitable[Reply]]
    random: random.Random
    body: Any = None

    @property
    def bulk(self) -> bool:
        return self.path == "/Bulk"

    @property
    def listing(self) -> bool:
        return self.method == "GET" and self.path == "/Users"


Fault = Callable[[Call], Awaitable[Reply]]


def _error(status: int, *headers: tuple[str, str]) -> Reply:
    body = {"schemas": [_ERROR], "status": str(status)}
    return Reply(status, json.dumps(body).encode(), headers=headers)


async def reset_before(call: Call) -> Reply:  # the server never hears of it
    return Reply(silent=True)


async def reset_after(call: Call) -> Reply:
    """The server has acted, and nobody hears of it."""
    await call.forward()
    return Reply(silent=True)


async def stall_before(call: Call) -> Reply:  # the server never hears of it
    await asyncio.sleep(STALL_SECONDS)
    return Reply(silent=True)


async def stall_after(call: Call) -> Reply:
    reply = await call.forward()
    await asyncio.sleep(STALL_SECONDS)
    return reply


async def late(call: Call) -> Reply:
    """A write is carried out when nobody waits for its answer any more."""
    if call.method != "GET":
        await asyncio.sleep(STALL_SECONDS)
    return await call.forward()


async def server_error(call: Call) -> Reply:
    if call.random.random() < 0.5:
        await call.forward()
    return _error(call.random.choice([500, 502, 503, 504]))


async def busy_seconds(call: Call) -> Reply:  # answered without the server
    return _error(503, ("Retry-After", "1"))


async def busy_date(call: Call) -> Reply:  # answered without the server
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    return _error(503, ("Retry-After", email.utils.format_datetime(when, usegmt=True)))


async def truncated(call: Call) -> Reply:
    """Cut off on the wire, or whole on the wire and not whole as JSON."""
    reply = await call.forward()
    half = len(reply.content) // 2
    if call.random.random() < 0.5:
        return Reply(reply.status, reply.content, reply.content_type, reply.headers, cut=half)
    return Reply(reply.status, reply.content[:half], reply.content_type, reply.headers)


async def html(call: Call) -> Reply:
    """The sign-in page of something in between, which may have let the request through."""
    if call.random.random() < 0.5:
        await call.forward()
    return Reply(200, b"<!doctype html><title>Sign in</title>", "text/html")


async def empty(call: Call) -> Reply:
    if call.random.random() < 0.5:
        await call.forward()
    return Reply(200)


async def huge(call: Call) -> Reply:
    reply = await call.forward()
    return Reply(reply.status, reply.content, reply.content_type, huge=HUGE_BYTES)


async def unsaid_conflict(call: Call) -> Reply:
    """409 for whatever reason, without a scimType."""
    reply = await call.forward()
    return _error(409) if reply.status == 409 or call.random.random() < 0.3 else reply


async def false_conflict(call: Call) -> Reply:
    """Some make the account and say that it was there already."""
    if call.method == "POST" and not call.bulk:
        await call.forward()
        return _error(409)
    return await call.forward()


def _page(reply: Reply) -> Any:
    return json.loads(reply.content)


def _as(reply: Reply, body: Any) -> Reply:
    return Reply(reply.status, json.dumps(body).encode(), reply.content_type, reply.headers)


async def repeated_page(call: Call) -> Reply:
    reply = await call.forward()
    if not call.listing or reply.status != 200:
        return reply
    page = _page(reply)
    resources = page.get("Resources") or []
    return _as(reply, {**page, "Resources": [*resources, *resources[: len(resources) // 2]]})


async def missing_page(call: Call) -> Reply:
    reply = await call.forward()
    if not call.listing or reply.status != 200:
        return reply
    page = _page(reply)
    return _as(reply, {**page, "Resources": (page.get("Resources") or [])[::2]})


async def wrong_total(call: Call) -> Reply:
    reply = await call.forward()
    if not call.listing or reply.status != 200:
        return reply
    page = _page(reply)
    return _as(
        reply, {**page, "totalResults": max(0, page["totalResults"] + call.random.choice([-7, -1, 1, 7]))}
    )


async def bulk_lost(call: Call) -> Reply:
    """The server has acted on all of it, and nobody hears of it."""
    return await (reset_after(call) if call.bulk else call.forward())


async def bulk_half(call: Call) -> Reply:
    """All of it is done, and half of it answered."""
    reply = await call.forward()
    if not call.bulk or reply.status != 200:
        return reply
    page = _page(reply)
    return _as(reply, {**page, "Operations": page["Operations"][: len(page["Operations"]) // 2]})


async def bulk_shuffled(call: Call) -> Reply:
    """In any order, and some of it twice."""
    reply = await call.forward()
    if not call.bulk or reply.status != 200:
        return reply
    page = _page(reply)
    entries = page["Operations"]
    shuffled = call.random.sample([*entries, *entries[:1]], len(entries) + 1)
    return _as(reply, {**page, "Operations": shuffled})


async def bulk_too_large(call: Call) -> Reply:
    """413 for fewer operations than are announced to be too many."""
    if call.bulk and len(call.body["Operations"]) > UNANNOUNCED_MOST:
        return _error(413)
    return await call.forward()


FAULTS: dict[str, Fault] = {
    function.__name__: function
    for function in (
        reset_before, reset_after, stall_before, stall_after, late, server_error, busy_seconds, busy_date, truncated, html,
        empty, huge, unsaid_conflict, false_conflict, repeated_page, missing_page, wrong_total,
        bulk_lost, bulk_half, bulk_shuffled, bulk_too_large,
    )
}  # fmt: skip

"""Reading all accounts, page by page: index paging (RFC 7644 3.4.2.4) or cursors (RFC 9865).

Pages may be short, repeated or unordered, `count` may be capped and `totalResults` wrong. What cannot be shown to be
whole raises: a listing that ends early would make people look as if they had left.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from provisioning.model import RemoteUser
from provisioning.paths import get
from scim.errors import (
    AnswerTooLarge,
    ListingIncomplete,
    ListingTooLong,
    NoAnswer,
    StatusError,
    UnusableAnswer,
    status_error,
)
from scim.transport import Answer, Transport

PAGE = 200
# Of accounts that are not read whole.
LARGE_PAGE = 1000
# After a larger one was refused: LiteLLM says 422 to more.
MODEST_PAGE = 100
# None is smaller, nor is one where any account will do. Of one that took the target too long a quarter is asked for.
SMALL_PAGE, QUARTER = 20, 4
# What a proxy or a PHP says when that happened behind it.
_GAVE_UP = frozenset({500, 502, 504})
# So long no larger one is tried again.
SMALLER_SECONDS = 600.0
# Of a limit: so many users, or a multiple, may be where a listing was cut off.
ROUND = 50
# Pages of a cursor without anybody new, one after the other, before we stop believing that it leads anywhere.
FRUITLESS_PAGES = 5
LONGEST_ID = 2_000
LONGEST_NUMBER = 18
# Half a character, or the end of a field of a link.
_NO_WORD = re.compile("[\ud800-\udfff\t]")
_SPELLED = {name.lower(): name for name in ("id", "externalId", "userName", "displayName", "active", "meta")}
_CURSOR_LOST = frozenset({"invalidCursor", "expiredCursor"})


def accounts_of(answer: Answer) -> list[RemoteUser]:
    """The resources of a ListResponse; none where there is no `Resources` (RFC 7644 3.4.2)."""
    resources = get(answer.body, "Resources") if isinstance(answer.body, dict) else None
    listed = resources if isinstance(resources, list) else []
    return [account for each in listed if (account := read_account(each)) is not None]


def read_account(resource: Any, version: str | None = None) -> RemoteUser | None:
    """The account; None where there is none, or none whose id could be asked for."""
    if not isinstance(resource, dict):
        return None
    resource = _spelled(resource)
    scim_id, meta = _word(resource.get("id")), resource.get("meta")
    # A dot would be another address.
    if scim_id in {"", ".", ".."}:
        return None
    if isinstance(resource.get("externalId"), list | dict):
        # Not ours to read, but a claim all the same: never an account without externalId.
        resource = {**resource, "externalId": str(resource["externalId"])}
    known = _word(version or (meta.get("version") if isinstance(meta, dict) else None))
    return RemoteUser(scim_id, known or None, resource)


def _spelled(resource: dict[str, Any]) -> dict[str, Any]:
    """Names are the same in any case (RFC 7643 2.1). Those that are read by themselves, as the RFC spells them."""
    renamed = _renamed(tuple(resource))
    return {renamed.get(name, name): value for name, value in resource.items()} if renamed else resource


@lru_cache(maxsize=256)
def _renamed(names: tuple[str, ...]) -> Mapping[str, str]:
    """Made out once: a target spells each account alike."""
    spelled = {name: _SPELLED.get(name.lower(), name) for name in names}
    return {name: right for name, right in spelled.items() if name != right}


def _word(value: Any) -> str:
    """An id or a version as it can go into a URL, a header, a store and a log; else "". Some send numbers; a list or an
    object could hold attributes. JSON can spell half a character, UTF-8 cannot; a tab would end a field of a link; and no id
    is a page long.
    """
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if len(text) <= LONGEST_ID and not _NO_WORD.search(text) else ""


class PageSize:
    """How many accounts of one target are asked for at once: fewer, for a while, once it could not answer so many."""

    def __init__(self) -> None:
        self._most, self._until = LARGE_PAGE, float("-inf")

    def of(self, wanted: int) -> int:
        return min(wanted, self._most) if time.monotonic() < self._until else wanted

    def lower(self, most: int) -> None:
        self._most, self._until = most, time.monotonic() + SMALLER_SECONDS


@dataclass
class _Read:
    """What was read so far: ids in order, and the largest totalResults that was claimed. wanted: accounts a page."""

    wanted: int
    size: PageSize
    ids: dict[str, None] = field(default_factory=dict)
    total: int = 0

    @property
    def count(self) -> int:
        return self.size.of(self.wanted)

    def lower(self, most: int, asked: int) -> bool:
        """asked: for how many, of the page that was not to be had. False: for no more than that. Others who read at the same time
        may have lowered it by now.
        """
        if self.count > most:
            self.size.lower(most)
        return asked > most

    def quarter(self, asked: int) -> bool:
        """After a page that took the target too long. False: it was as small as any."""
        return self.lower(max(SMALL_PAGE, asked // QUARTER), asked)

    def take(self, answer: Answer) -> list[RemoteUser]:
        """The accounts that are new."""
        new = {account.scim_id: account for account in accounts_of(answer) if account.scim_id not in self.ids}
        self.ids.update(dict.fromkeys(new))
        self.total = max(self.total, _number(get(answer.body, "totalResults")))
        return list(new.values())


async def pages(
    transport: Transport,
    *,
    cursors: bool,
    count: int,
    size: PageSize,
    attributes: Sequence[str] = (),
    most_pages: int | None = None,
) -> AsyncIterator[list[RemoteUser]]:
    """Every account once. count: of a page, at most. attributes: what is wanted of each, none for all. most_pages: to
    read, each as large as the target can answer.

    Raises ListingIncomplete, ListingTooLong and what a request raises.
    """
    read = _Read(count, size)
    walk = _by_cursor if cursors else _by_index
    params: Mapping[str, str | int] = {"attributes": ",".join(attributes)} if attributes else {}
    async for new in walk(transport, params, read):
        if most_pages is not None and max(read.total, len(read.ids)) > most_pages * read.count:
            raise ListingTooLong(f"the target's listing is longer than {most_pages} pages")
        if new:
            yield new
    if len(read.ids) < read.total:
        raise ListingIncomplete(f"the target says it has {read.total} users but listed {len(read.ids)}")


async def _by_index(
    transport: Transport, params: Mapping[str, str | int], read: _Read
) -> AsyncIterator[list[RemoteUser]]:
    start = 1
    while True:
        answer = await _page(transport, {**params, "startIndex": start}, read)
        listed = len(accounts_of(answer))
        new = read.take(answer)
        yield new
        start += listed
        if not new:
            return
        # totalResults may be too small: only an empty or repeated page is the end. One request more a listing.
        if len(read.ids) >= read.total and not await _more(transport, start, read):
            return


async def _more(transport: Transport, start: int, read: _Read) -> bool:
    further = await _at(transport, start)
    first = next(iter(read.ids), None)
    if len(read.ids) > 1 and further == [first] and await _at(transport, 2) == [first]:
        # AWS without cursors: the first page for every startIndex, and its length for totalResults. (SCIMMY begins anew beyond
        # its end; whoever shows everybody each time shows more than the one that was asked for.)
        raise ListingIncomplete("the target shows its first users whatever startIndex says; it may have more")
    if len(further) > 1 and further == list(read.ids) and len(further) % ROUND == 0:
        # better-auth: no pages at all, and a limit that it does not tell. Whoever has so many users and shows them all is believed
        # again with the next one.
        raise ListingIncomplete(
            f"the target shows {len(further)} users whatever startIndex and count say; it may have more"
        )
    return bool(further)


async def _at(transport: Transport, start: int) -> list[str]:
    """The id of one account, if the target counts."""
    answer = await transport.request("GET", "/Users", params={"startIndex": start, "count": 1})
    # Some refuse a startIndex beyond the end.
    return [] if answer.status == 400 else [account.scim_id for account in accounts_of(_listed(answer))]


async def _by_cursor(
    transport: Transport, params: Mapping[str, str | int], read: _Read
) -> AsyncIterator[list[RemoteUser]]:
    cursor, visited, fruitless = "", {""}, 0
    while True:
        answer = await _page(transport, {**params, "cursor": cursor}, read)
        new = read.take(answer)
        yield new
        cursor = str(get(answer.body, "nextCursor") or "")
        if not cursor:
            return
        fruitless = 0 if new else fruitless + 1
        if cursor in visited or fruitless > FRUITLESS_PAGES:
            raise ListingIncomplete("the target repeats a page of its listing")
        visited.add(cursor)


async def _page(transport: Transport, params: Mapping[str, str | int], read: _Read) -> Answer:
    while True:
        asked = read.count
        try:
            answer = await transport.request("GET", "/Users", params={"count": asked, **params})
        except (NoAnswer, AnswerTooLarge):
            if not read.quarter(asked):
                raise
            continue
        refused = answer.status in {400, 422} and read.lower(MODEST_PAGE, asked)
        if not refused and not (answer.status in _GAVE_UP and read.quarter(asked)):
            return _listed(answer)


def _listed(answer: Answer) -> Answer:
    if answer.status == 404:
        return Answer(200, answer.headers, {})
    if answer.status >= 400:
        error: StatusError = status_error(answer.status, answer.headers, answer.body)
        if error.scim_type in _CURSOR_LOST:
            raise ListingIncomplete(f"the target lost its place in the listing ({error.scim_type})")
        raise error
    if not isinstance(answer.body, dict):
        raise UnusableAnswer("the target answered a listing with something that is not SCIM")
    return answer


def _number(value: Any) -> int:
    """A count, also where it is sent as text; 0 when it is none."""
    text = str(value)
    return int(text) if len(text) <= LONGEST_NUMBER and text.isascii() and text.isdigit() else 0

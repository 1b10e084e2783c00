"""Who is on the target, from one reading of its listing: so that of many unlinked users each need not be looked up.

Kept are hashes of the matching attributes, under this process's own random seed: no value, and 16 bytes an account. It says
for sure only that somebody was not there; whoever may have been is looked up as ever. Since accounts are made meanwhile, it
is believed for users who had no link when their job began, or one that says they rightly have no account (no attempt that is not
settled), and for as long as Redis remembers.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from provisioning.model import RemoteUser
from provisioning.paths import parse
from scim.client import ScimClient
from scim.errors import BadRequest, NotThere
from scim.filters import texts_at

LASTS_SECONDS = 600.0
# Of accounts the listing shows without an attribute, so many are read by themselves: it may be the listing that lacks it.
SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Census:
    """hashes: attribute -> sorted hashes of the values all accounts have. Of an attribute that is not in it nothing is
    known. read_at: time.monotonic() before the first page.
    """

    hashes: Mapping[str, array[int]]
    read_at: float

    @property
    def nobody(self) -> bool:
        return not any(self.hashes.values())

    def has(self, attribute: str, value: str) -> bool | None:
        """False: surely nobody had this value. True: most likely somebody. None: nothing is known."""
        known = self.hashes.get(attribute)
        if known is None or time.monotonic() > self.read_at + LASTS_SECONDS:
            return None
        wanted = hash(value.casefold())
        at = bisect_left(known, wanted)
        return at < len(known) and known[at] == wanted


@dataclass
class _Seen:
    """One attribute while the listing is read. without: ids of accounts that do not show it."""

    hashes: array[int] = field(default_factory=lambda: array("q"))
    without: list[str] = field(default_factory=list)

    def add(self, attribute: str, account: RemoteUser) -> None:
        values = texts_at(account, attribute)
        self.hashes.extend(hash(value.casefold()) for value in values)
        if not values:
            # The first, and the last ones.
            del self.without[SAMPLES - 1 :]
            self.without.append(account.scim_id)


async def take_census(
    client: ScimClient, attributes: Sequence[str], *, cursors: bool, page: int | None, most_pages: int
) -> Census:
    """Reads the whole listing, of each account only what is needed. page: accounts, as announced. most_pages: of the listing.

    Raises ListingTooLong before the second page of a listing that is longer; ListingIncomplete, and what a request raises.
    """
    began = time.monotonic()
    seen = {attribute: _Seen() for attribute in attributes}
    wanted = tuple(dict.fromkeys(["id", "userName", *(str(parse(each).whole) for each in attributes)]))
    try:
        await _read(client, seen, wanted, cursors=cursors, page=page, most_pages=most_pages)
    except BadRequest:
        seen = {attribute: _Seen() for attribute in attributes}
        await _read(client, seen, (), cursors=cursors, page=page, most_pages=most_pages)
    believed = [each for each in attributes if await _shown_in_full(client, each, seen[each].without)]
    return Census({each: array("q", sorted(seen[each].hashes)) for each in believed}, began)


async def _read(
    client: ScimClient,
    seen: Mapping[str, _Seen],
    wanted: Sequence[str],
    *,
    cursors: bool,
    page: int | None,
    most_pages: int,
) -> None:
    async for accounts in client.listing(
        cursors=cursors, most=page, attributes=wanted, most_pages=most_pages
    ):
        for account in accounts:
            for attribute, each in seen.items():
                each.add(attribute, account)


async def _shown_in_full(client: ScimClient, attribute: str, without: Sequence[str]) -> bool:
    """False when an account shows by itself what the listing does not show of it."""
    for scim_id in without:
        try:
            account = await client.get(scim_id)
        except NotThere:
            continue
        if texts_at(account, attribute):
            return False
    return True

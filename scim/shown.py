"""Whether a target's search shows who is there: some answer a filter, mostly one on externalId, with nobody, whoever is asked for
(DESIGN 5.3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from provisioning.model import RemotePage
from scim.client import ScimClient
from scim.errors import BadRequest, ListingIncomplete, NotSupported, NotThere
from scim.filters import equals, matches, texts_at
from scim.listing import SMALL_PAGE

# Until somebody is asked for again where nobody was shown, or nobody could be asked for.
AGAIN_SECONDS = 60.0
# Who ask at the same time once there was no answer: the question may be a whole listing.
AT_ONCE = 8


class Shown:
    """Of one target in one process. pages: its listing, so many accounts a page, or as many as it takes."""

    def __init__(
        self, client: ScimClient, pages: Callable[[int | None], Awaitable[AsyncIterator[RemotePage]]]
    ) -> None:
        self._client = client
        self._pages = pages
        self._proven: set[str] = set()
        self._said: dict[str, tuple[bool, float]] = {}
        self._asking = asyncio.Lock()
        self._some = asyncio.Semaphore(AT_ONCE)
        self._answered = True

    def saw(self, attribute: str) -> None:
        """A filter on it has found somebody."""
        self._proven.add(attribute)

    async def by(self, attribute: str) -> bool:
        """Whether somebody who is there is found by this attribute: where not, that nobody is found means nothing."""
        async with self._asking:
            if (known := self._known(attribute)) is not None:
                return known
            if self._answered:
                return await self._note(attribute)
        # Whoever asked before had no answer, perhaps after a long time: one after the other all who wait would take hours.
        async with self._some:
            known = self._known(attribute)
            return await self._note(attribute) if known is None else known

    def _known(self, attribute: str) -> bool | None:
        if attribute in self._proven:
            return True
        shown, until = self._said.get(attribute, (None, float("-inf")))
        return shown if time.monotonic() < until else None

    async def _note(self, attribute: str) -> bool:
        self._answered = False
        shown = await self._ask(attribute)
        self._answered = True
        self._said[attribute] = shown, time.monotonic() + AGAIN_SECONDS
        return shown

    async def _ask(self, attribute: str) -> bool:
        """For the first one who is listed with it. True where that is nobody, and where the filter itself is refused."""
        with suppress(ListingIncomplete, BadRequest, NotSupported):
            async for page in self._listed():
                for account in page:
                    for value in texts_at(account, attribute):
                        return await self._shows(attribute, value)
        return True

    async def _listed(self) -> AsyncIterator[RemotePage]:
        """A few, of whom nearly always one will do: a large page is what a slow target does not answer in time. Else everybody."""
        async for page in await self._pages(SMALL_PAGE):
            yield page
            break
        async for page in await self._pages(None):
            yield page

    async def _shows(self, attribute: str, value: str) -> bool:
        try:
            found = await self._client.query(equals(attribute, value))
        except NotThere:
            return False
        if shows := any(matches(account, attribute, value) for account in found):
            self.saw(attribute)
        return shows

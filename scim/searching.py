"""Finding accounts, for reconcile and for people: by the target's search, and by its listing where that cannot be believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from provisioning.model import RemotePage, RemoteUser
from scim.client import ScimClient
from scim.consequences import Consequences
from scim.discovery import Discovery
from scim.errors import BadRequest, ListingIncomplete, NotSupported, NotThere, ServerFault
from scim.filters import NOBODY, contains, equals, matches, mentions
from scim.listing import PAGE
from scim.probing import probe
from scim.quirks import QuirkStore, unfiltered
from scim.shown import Shown


class Searching:
    """Of one target."""

    def __init__(self, client: ScimClient, quirks: QuirkStore, discovery: Discovery) -> None:
        self._client = client
        self._quirks = quirks
        self._discovery = discovery
        self._shown = Shown(client, self._pages)

    async def find(self, attribute: str, value: str, *, certain: bool) -> Sequence[RemoteUser]:
        """provisioning.ports.Target.find."""
        if unfiltered(attribute) in await self._quirks.items():
            return await self.find_in_listing(attribute, value)
        with Consequences():
            try:
                answered = await self._client.query(equals(attribute, value))
            except (BadRequest, NotSupported):
                answered = None
            except NotThere:
                # Nobody, to some; or no target behind what answers, or at this address.
                await probe(self._client)
                answered = []
            except ServerFault as error:
                if error.status != 500 or not await self._stumbles_over(attribute):
                    raise
                return await self.find_in_listing(attribute, value)
        if answered is not None:
            found = [account for account in answered if matches(account, attribute, value)]
            if found:
                self._shown.saw(attribute)
                return found
            # Whoever ignores the filter shows others and perhaps, further on, the right one.
            if not answered:
                believed = not certain or await self._shows(attribute)
                return [] if believed else await self.find_in_listing(attribute, value)
        # It may have stumbled over this value alone: a quote, or one that is too long.
        if not await self._filters_by(attribute):
            await self._quirks.add(unfiltered(attribute))
        return await self.find_in_listing(attribute, value)

    async def _filters_by(self, attribute: str) -> bool:
        """Whether nobody is shown where nobody can be."""
        with Consequences():
            try:
                return not await self._client.query(equals(attribute, NOBODY))
            except (BadRequest, NotSupported):
                return False
            except NotThere:
                return True

    async def _stumbles_over(self, attribute: str) -> bool:
        """Whether it fails over anybody's value, as authentik over an attribute that it does not know, and works otherwise."""
        try:
            await self._client.query(equals(attribute, NOBODY))
        except ServerFault:
            await self._client.probe()
            return True
        return False

    async def find_in_listing(self, attribute: str, value: str) -> Sequence[RemoteUser]:
        return [
            account async for page in self.listing() for account in page if matches(account, attribute, value)
        ]

    async def _shows(self, attribute: str) -> bool:
        with Consequences():
            return await self._shown.by(attribute)

    async def listing(self) -> AsyncIterator[RemotePage]:
        anybody = False
        with Consequences():
            async for page in await self._pages():
                anybody = anybody or bool(page)
                yield page
        if not anybody:
            # Nobody; or no target behind what answers, or at this address.
            await probe(self._client)

    async def _pages(self, most: int | None = None) -> AsyncIterator[RemotePage]:
        """most: accounts a page."""
        with Consequences():
            features = await self._discovery.features()
        count = min(most or PAGE, features.max_results or PAGE)
        return self._client.listing(cursors=features.cursor, most=count)

    async def by_text(self, text: str, limit: int) -> Sequence[RemoteUser]:
        """For people (ScimTarget.search)."""
        if not text:
            return await self._listed(text, limit)
        names = ("userName", "displayName", "emails.value")
        condition = " or ".join([*(contains(name, text) for name in names), equals("externalId", text)])
        with Consequences():
            try:
                found = await self._client.query(condition, limit)
            except (BadRequest, NotSupported, NotThere):
                found = []
        # Whoever ignores filters shows people nobody has asked for.
        if found := [account for account in found if mentions(account, text)]:
            return found[:limit]
        if not (found := list(await self._listed(text, limit))):
            # Nobody; or no target at this address.
            await probe(self._client)
        return found

    async def _listed(self, text: str, limit: int) -> Sequence[RemoteUser]:
        """Of the listing. Whoever it shows is there, also where it cannot be shown to be whole."""
        found: list[RemoteUser] = []
        with Consequences():
            try:
                async for page in await self._pages():
                    found += [account for account in page if mentions(account, text)]
                    if len(found) >= limit:
                        break
            except ListingIncomplete:
                if not found:
                    raise
        return found[:limit]

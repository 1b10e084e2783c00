"""Which look-ups before a create can be left out, by what the target says of itself and by its listing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from scim.census import LASTS_SECONDS, Census, take_census
from scim.client import ScimClient
from scim.discovery import Discovery
from scim.errors import ScimError
from scim.listing import LARGE_PAGE

# After a listing that was too long, or could not be read whole.
AGAIN_SECONDS = 60.0


class LookUps:
    """Of one target. matching: the attributes accounts are looked for by."""

    def __init__(self, client: ScimClient, discovery: Discovery, matching: Sequence[str]) -> None:
        self._client = client
        self._discovery = discovery
        self._matching = matching
        self._census: Census | None = None
        self._until = float("-inf")
        self._taking = asyncio.Lock()

    async def needed(self, attribute: str, value: str, *, creating: bool) -> bool:
        """provisioning.ports.Target.needs_look_up."""
        if creating and not await self._discovery.refuses_doubles("userName"):
            return True
        if self._census is not None and self._census.lacks(attribute, value):
            return False
        return not creating or not await self._discovery.refuses_doubles(attribute)

    @property
    def lack_census(self) -> bool:
        """Whether one might be taken now, or is being taken: then it is worth waiting for."""
        return self._taking.locked() or self._due

    @property
    def _due(self) -> bool:
        return time.monotonic() >= self._until

    async def take_census(self, unlinked: int) -> None:
        """Reads the listing, where that takes fewer requests than looking for so many users one by one; what goes wrong
        is left to those look-ups. Whoever comes meanwhile waits for it.
        """
        async with self._taking:
            if not self._due:
                return
            again_at = self._until = time.monotonic() + AGAIN_SECONDS
            with suppress(ScimError):
                # At the same time: whoever is first after a start waits for all of it.
                unique, features = await asyncio.gather(
                    self._discovery.refuses_doubles("userName"), self._discovery.features()
                )
                if not unique:
                    return
                page = min(LARGE_PAGE, features.max_results or LARGE_PAGE)
                census = await take_census(
                    self._client, self._matching, cursors=features.cursor, page=page, longest=unlinked * page
                )
                # Unless it was to be forgotten meanwhile.
                if self._until == again_at:
                    self._census, self._until = census, census.read_at + LASTS_SECONDS

    def forget(self) -> None:
        """Redis was emptied: accounts may be there that only it knew of."""
        self._census, self._until = None, float("-inf")

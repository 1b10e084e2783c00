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

# After a listing that was too long, or could not be read whole.
AGAIN_SECONDS = 60.0
# So long after it was begun others wait for a listing: a long one must not hold up everybody.
PATIENCE_SECONDS = 10.0
# So long whoever reads it does: it is believed for twice as long, from its beginning on.
LONGEST_SECONDS = LASTS_SECONDS / 2


class LookUps:
    """Of one target. matching: the attributes accounts are looked for by. longest_seconds: that a listing is read."""

    longest_seconds = LONGEST_SECONDS

    def __init__(self, client: ScimClient, discovery: Discovery, matching: Sequence[str]) -> None:
        self._client = client
        self._discovery = discovery
        self._matching = matching
        self._census: Census | None = None
        self._until = self._began = float("-inf")
        self._taking = asyncio.Lock()

    async def needed(self, attribute: str, value: str, *, creating: bool) -> bool:
        """provisioning.ports.Target.needs_look_up."""
        if creating and not await self._discovery.refuses_doubles("userName"):
            return True
        if self._census is not None and (has := self._census.has(attribute, value)) is not None:
            return has
        return not creating or not await self._discovery.refuses_doubles(attribute)

    @property
    def lack_census(self) -> bool:
        """Whether one might be taken now, or is worth waiting for."""
        return self._patience > 0 if self._taking.locked() else time.monotonic() >= self._until

    @property
    def _patience(self) -> float:
        return self._began + PATIENCE_SECONDS - time.monotonic()

    async def take_census(self, unlinked: int) -> None:
        """Reads the listing, where that takes fewer requests than looking for so many users one by one; what goes wrong
        is left to those look-ups. Whoever comes meanwhile waits for it, a while.
        """
        if not self.lack_census:
            return
        if self._taking.locked():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience), self._taking:
                    pass
            return
        async with self._taking:
            self._began = time.monotonic()
            again_at = self._until = self._began + AGAIN_SECONDS
            with suppress(ScimError):
                # At the same time: whoever is first after a start waits for all of it.
                unique, features = await asyncio.gather(
                    self._discovery.refuses_doubles("userName"), self._discovery.features()
                )
                if not unique:
                    return
                reading = take_census(
                    self._client,
                    self._matching,
                    cursors=features.cursor,
                    page=features.max_results,
                    most_pages=unlinked,
                )
                try:
                    census = await asyncio.wait_for(reading, self.longest_seconds)
                except TimeoutError:
                    # Not at once again: it takes as long the next time.
                    self._until = time.monotonic() + LASTS_SECONDS
                    return
                if census.nobody:
                    # What answers may have no target behind it.
                    await self._client.probe()
                # Unless it was to be forgotten meanwhile.
                if self._until == again_at:
                    self._census, self._until = census, census.read_at + LASTS_SECONDS

    def forget(self) -> None:
        """Redis was emptied: accounts may be there that only it knew of."""
        self._census, self._until = None, float("-inf")

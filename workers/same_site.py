"""Whether the site that is read is the one whose users are linked. Another one's users would all be gone here."""

from __future__ import annotations

from provisioning.errors import SourceIdentityLost
from provisioning.ports import SourceReader
from state.client import Redis
from state.keys import SOURCE, key

# Whom no site lets go (Drupal, "Cancel account": user 1 cannot be canceled), and each has another one.
FIRST_UID = 1
_OTHER = (
    f"another Drupal site uses this Redis: its user {FIRST_UID} has another uuid. Give each site a Redis of its own, or another number "
    f"in redis.url, such as redis://host:6379/1; if it is the same site, set up anew, delete {key(SOURCE, 'site')} there"
)


class SameSite:
    """Of one process. Noted in Redis is the uuid of user 1 of the site that was read first."""

    def __init__(self, redis: Redis, reader: SourceReader) -> None:
        self._redis = redis
        self._reader = reader
        self._certain = False

    async def settle(self, *, somebody_gone: bool) -> None:
        """Asked once, and again whenever somebody is gone. Raises SourceIdentityLost, SourceUnreadable."""
        if self._certain and not somebody_gone:
            return
        noted = await self._redis.get(key(SOURCE, "site"))
        if noted is None or not await self._reader.present([noted]):
            await self._note_or_refuse()
        self._certain = True

    async def _note_or_refuse(self) -> None:
        uuid = await self._first_user()
        # Without user 1 nothing is known.
        if uuid is not None:
            noted = key(SOURCE, "site")
            await self._redis.set(noted, uuid, nx=True)
            if await self._redis.get(noted) != uuid:
                raise SourceIdentityLost(_OTHER)

    async def _first_user(self) -> str | None:
        """From the first page of a listing, which may be a long one."""
        async for page in self._reader.ids():
            return next((ref.uuid for ref in page if ref.uid == FIRST_UID), None)
        return None

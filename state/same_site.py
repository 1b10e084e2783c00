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
        uuid = await self.compare()
        # Without user 1 nothing is known.
        if uuid is not None:
            await self._redis.set(key(SOURCE, "site"), uuid, nx=True)
            # Another process may have read another site at this moment.
            await self.compare()
        self._certain = True

    async def compare(self) -> str | None:
        """Writes nothing down: the uuid of user 1, where that is to be noted. Raises SourceIdentityLost, SourceUnreadable."""
        noted = await self._redis.get(key(SOURCE, "site"))
        if noted is not None and await self._reader.present([noted]):
            return None
        uuid = await self._first_user()
        if noted is not None and uuid not in {None, noted}:
            raise SourceIdentityLost(_OTHER)
        return uuid if noted is None else None

    async def _first_user(self) -> str | None:
        """From the first page of a listing, which may be a long one."""
        async for page in self._reader.ids():
            return next((ref.uuid for ref in page if ref.uid == FIRST_UID), None)
        return None

"""How many linked accounts are active: those who have something to lose, of whom the guard allows a share.

Every account has one owner (`owners`), and every link whose account is deactivated says so by a letter of its own, which is
counted with each write in the same script (state.links). Links written before there was that letter are told apart once,
wherever that was not done yet: each by itself, and only if it is still as it was read, so whoever writes meanwhile, or
tells apart as well, changes nothing about the number.
"""

from __future__ import annotations

import asyncio

from config.json_text import encoded
from provisioning.diff import told_apart
from state.client import Redis
from state.keys import key
from state.link_text import LAYOUT, LinkText, names_account_as_inactive, rewritten
from state.links import AT_ONCE, COMMON, digest_key

_ACTIVE = (
    COMMON
    + """
if redis.call('HEXISTS', linked, 'told_apart') == 0 then return false end
return redis.call('HLEN', owners) - tonumber(redis.call('HGET', linked, 'deactivated') or 0)
"""
)
# ARGV: JSON: a list for each link of user, text, the text that takes its place unless another one has meanwhile.
_REPLACE = (
    COMMON
    + """
for _, each in ipairs(cjson.decode(ARGV[1])) do
  local user, before, after = unpack(each)
  if redis.call('HGET', links, user) == before then
    note(before, after)
    redis.call('HSET', links, user, after)
  end
end
"""
)


class ActiveAccounts:
    """Of one target."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._links, _, self._linked = self._keys = tuple(
            key(target, name) for name in ("links", "owners", "linked")
        )
        self._active = redis.register_script(_ACTIVE)
        self._replace = redis.register_script(_REPLACE)
        self._asking = asyncio.Lock()

    async def count(self) -> int:
        """Accounts not known to be deactivated."""
        # One at a time: telling apart takes seconds for a million users.
        async with self._asking:
            while (active := await self._active(keys=self._keys)) is None:
                await self._tell_apart()
        return int(active)

    async def _tell_apart(self) -> None:
        digests_key = await digest_key(self._redis)
        text = LinkText(())
        known = await self._redis.hgetall(self._linked)
        text.learn({name: paths for name, paths in known.items() if name.startswith(LAYOUT)})
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(self._links, cursor, count=AT_ONCE)
            old = {user: each for user, each in page.items() if names_account_as_inactive(each)}
            links = {user: text.read(each) or text.read_without_content(each) for user, each in old.items()}
            new = [
                (user, old[user], rewritten(old[user], told_apart(link, digests_key)))
                for user, link in links.items()
            ]
            if new:
                await self._replace(keys=self._keys, args=[encoded(new)])
            if cursor == 0:
                break
        await self._redis.hset(self._linked, "told_apart", 1)

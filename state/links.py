"""Links: which account is whose, and digests of what was last sent (DESIGN 1.4). No attribute value.

A link is stored as one line of text, fields separated by tabs, so that a million of them stay small:
scim id, version, fingerprint, active (1/0), then path and digest in turns, paths by number from the target's
own list of paths (scimpipe:{T}:paths) because they repeat in every link.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

from provisioning.model import Link
from state.client import Redis
from state.keys import DIGEST_KEY, key

# ARGV: user, scim id or '', link. Refuses an account that is another user's; gives up the user's former account.
_PUT = """
local links, owners = KEYS[1], KEYS[2]
local user, scim_id, link = ARGV[1], ARGV[2], ARGV[3]
if scim_id ~= '' then
  local owner = redis.call('HGET', owners, scim_id)
  if owner and owner ~= user then return 0 end
end
local before = redis.call('HGET', links, user)
if before then
  local old = string.match(before, '^[^\\t]*')
  if old ~= '' and old ~= scim_id and redis.call('HGET', owners, old) == user then redis.call('HDEL', owners, old) end
end
redis.call('HSET', links, user, link)
if scim_id ~= '' then redis.call('HSET', owners, scim_id, user) end
return 1
"""
_DROP = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then
  local old = string.match(before, '^[^\\t]*')
  if redis.call('HGET', KEYS[2], old) == ARGV[1] then redis.call('HDEL', KEYS[2], old) end
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then
  number = redis.call('HLEN', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[1], number)
end
return tonumber(number)
"""


class LinkStore:
    """provisioning.ports.Links of one target."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._links, self._owners, self._paths = (key(target, name) for name in ("links", "owners", "paths"))
        self._put = redis.register_script(_PUT)
        self._drop = redis.register_script(_DROP)
        self._number = redis.register_script(_NUMBER)
        self._numbers: dict[str, str] = {}
        self._names: dict[str, str] = {}

    async def get_many(self, users: Sequence[str]) -> Mapping[str, Link]:
        if not users:
            return {}
        found = await self._redis.hmget(self._links, list(users))
        return {
            user: await self._decode(raw) for user, raw in zip(users, found, strict=True) if raw is not None
        }

    async def put(self, user: str, link: Link) -> bool:
        raw = await self._encode(link)
        return bool(await self._put(keys=[self._links, self._owners], args=[user, link.scim_id, raw]))

    async def drop(self, user: str) -> None:
        await self._drop(keys=[self._links, self._owners], args=[user])

    async def owner(self, scim_id: str) -> str | None:
        owner: str | None = await self._redis.hget(self._owners, scim_id)
        return owner

    async def count(self) -> int:
        """Users with an account."""
        return int(await self._redis.hlen(self._owners))

    async def scan(self) -> AsyncIterator[Mapping[str, Link]]:
        """All links, some hundred at a time. One that is written meanwhile may come twice or not at all."""
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(self._links, cursor, count=500)
            yield {user: await self._decode(raw) for user, raw in page.items()}
            if cursor == 0:
                return

    async def _encode(self, link: Link) -> str:
        parts = [link.scim_id, link.version or "", link.fingerprint, "1" if link.active else "0"]
        for path, digest in link.digests.items():
            parts += [await self._number_of(path), digest]
        return "\t".join(parts)

    async def _decode(self, raw: str) -> Link:
        scim_id, version, fingerprint, active, *pairs = raw.split("\t")
        digests = {
            await self._name_of(number): digest
            for number, digest in zip(pairs[::2], pairs[1::2], strict=True)
        }
        return Link(scim_id, version or None, fingerprint, digests, active == "1")

    async def _number_of(self, path: str) -> str:
        if path not in self._numbers:
            number = str(await self._number(keys=[self._paths], args=[path]))
            self._numbers[path], self._names[number] = number, path
        return self._numbers[path]

    async def _name_of(self, number: str) -> str:
        if number not in self._names:
            known = await self._redis.hgetall(self._paths)
            self._names = {value: name for name, value in known.items()}
        return self._names.get(number, f"unknown-{number}")


async def digest_key(redis: Redis) -> bytes:
    """The key of all digests: made once, kept beside the links, useless without them."""
    await redis.set(DIGEST_KEY, secrets.token_hex(32), nx=True)
    return bytes.fromhex(await redis.get(DIGEST_KEY))

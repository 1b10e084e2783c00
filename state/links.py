"""Links: which account is whose, and digests of what was last sent (DESIGN 1.4). No attribute value.

A link is stored as one line of text, fields separated by tabs, so that a million of them stay small:
scim id, version, fingerprint, active (1/0), then path and digest in turns. Paths repeat in every link, so a hash of
four letters stands for each; which path that is, the mapping says.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from provisioning.model import Link
from state.client import Redis
from state.keys import DIGEST_KEY, key
from state.together import Together

# ARGV: for each link user, scim id or '', link, the scim id it takes the place of or ''. Refuses an account that is another
# user's, and to overwrite a link to any other account; gives up the user's former account. Gives 1 or 0 for each.
_PUT = """
local links, owners = KEYS[1], KEYS[2]
local function put(user, scim_id, link, instead_of)
  if scim_id ~= '' then
    local owner = redis.call('HGET', owners, scim_id)
    if owner and owner ~= user then return 0 end
  end
  local before = redis.call('HGET', links, user)
  if before then
    local old = string.match(before, '^[^\\t]*')
    if old ~= '' and old ~= scim_id then
      if old ~= instead_of then return 0 end
      if redis.call('HGET', owners, old) == user then redis.call('HDEL', owners, old) end
    end
  end
  redis.call('HSET', links, user, link)
  if scim_id ~= '' then redis.call('HSET', owners, scim_id, user) end
  return 1
end
local out = {}
for i = 1, #ARGV, 4 do table.insert(out, put(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])) end
return out
"""
# ARGV: user, scim id or ''. Refuses to drop a link to any other account.
_DROP = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then
  local old = string.match(before, '^[^\\t]*')
  if old ~= '' and old ~= ARGV[2] then return 0 end
  if redis.call('HGET', KEYS[2], old) == ARGV[1] then redis.call('HDEL', KEYS[2], old) end
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""


class LinkStore:
    """provisioning.ports.Links of one target. paths: the mapped SCIM paths."""

    def __init__(self, redis: Redis, target: str, paths: Iterable[str]) -> None:
        self._redis = redis
        self._links, self._owners = (key(target, name) for name in ("links", "owners"))
        self._put = redis.register_script(_PUT)
        self._puts: Together[tuple[str, ...], int] = Together(self._put_all)
        self._drop = redis.register_script(_DROP)
        self._paths = {_short(path): path for path in {*paths, "active"}}

    async def get_many(self, users: Sequence[str]) -> Mapping[str, Link]:
        if not users:
            return {}
        found = await self._redis.hmget(self._links, list(users))
        return {user: self._decode(raw) for user, raw in zip(users, found, strict=True) if raw is not None}

    async def put(self, user: str, link: Link, *, instead_of: str = "") -> bool:
        return bool(await self._puts.ask((user, link.scim_id, self._encode(link), instead_of)))

    async def _put_all(self, puts: Sequence[tuple[str, ...]]) -> Sequence[int]:
        # As bytes: redis-py looks at everything else several times over.
        arguments = [part.encode() for put in puts for part in put]
        return list(await self._put(keys=[self._links, self._owners], args=arguments))

    async def drop(self, user: str, scim_id: str) -> bool:
        return bool(await self._drop(keys=[self._links, self._owners], args=[user, scim_id]))

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
            yield {user: self._decode(raw) for user, raw in page.items()}
            if cursor == 0:
                return

    @staticmethod
    def _encode(link: Link) -> str:
        parts = [link.scim_id, link.version or "", link.fingerprint, "1" if link.active else "0"]
        for path, digest in link.digests.items():
            parts += [_short(path), digest]
        return "\t".join(parts)

    def _decode(self, raw: str) -> Link:
        scim_id, version, fingerprint, active, *pairs = raw.split("\t")
        # A path that has left the mapping keeps its short name; nothing is done about it any more.
        digests = {
            self._paths.get(short, short): digest
            for short, digest in zip(pairs[::2], pairs[1::2], strict=True)
        }
        return Link(scim_id, version or None, fingerprint, digests, active == "1")


def _short(path: str) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(path.encode(), digest_size=3).digest()).decode()


async def digest_key(redis: Redis) -> bytes:
    """The key of all digests: made once, kept beside the links, useless without them."""
    await redis.set(DIGEST_KEY, secrets.token_hex(32), nx=True)
    return bytes.fromhex(await redis.get(DIGEST_KEY))

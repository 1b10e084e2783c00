"""Links: which account is whose, and digests of what was last sent (DESIGN 1.4). No attribute value.

scimpipe:{T}:links   hash  user -> link, one line of text (state.link_text)
scimpipe:{T}:owners  hash  SCIM id -> user
scimpipe:{T}:linked  hash  #NAME -> a layout: paths, a hash of four letters each
                           !PRINT -> how many links are settled: have this fingerprint, of a user who is gone and dealt with
                           left -> how many links were ever dropped or settled
                           deactivated -> how many links say that their account is (state.active_accounts)
                           told_apart -> 1: none is left that was written before that was counted
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from config.json_text import encoded
from provisioning.model import Link
from state.client import Redis
from state.keys import DIGEST_KEY, key
from state.link_text import LAYOUT, LinkText
from state.together import Together

# The users of one request to Redis, which does nothing else meanwhile for some milliseconds. Lua passes on 8,000 at most.
AT_ONCE = 1_000
# As holder of a lease: of whoever changes what is known of a user only while nobody has that user.
NOBODY = "-"
# What whoever has the user is waited for.
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
SHORT_PAUSES = PAUSES[:3]

COMMON = """
local links, owners, linked, leased = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function lost(user, holder)
  -- whoever comes back after its lease has ended, from a pause or with an answer that took long, must not write what it knew then
  if holder == '' then return false end
  local lease = redis.call('HGET', leased, user)
  if holder == '-' then return lease end
  return not lease or not string.find(lease, '"o":' .. cjson.encode(holder), 1, true)
end
local function fingerprint(link) return string.match(link, '^[^\t]*\t[^\t]*\t([^\t]*)') end
local function note(before, after)
  -- a link changes from one text to another, false for none: keeps the number of settled ones, of those that left, and of
  -- those deactivated
  local was, was_active, is, is_active = false, false, false, false
  if before then was, was_active = string.match(before, '^[^\t]*\t[^\t]*\t([^\t]*)\t(.)') end
  if after then is, is_active = string.match(after, '^[^\t]*\t[^\t]*\t([^\t]*)\t(.)') end
  if was_active == '-' and is_active ~= '-' then redis.call('HINCRBY', linked, 'deactivated', -1) end
  if is_active == '-' and was_active ~= '-' then redis.call('HINCRBY', linked, 'deactivated', 1) end
  if was and string.sub(was, 1, 1) ~= '!' then was = false end
  if is and string.sub(is, 1, 1) ~= '!' then is = false end
  if was == is and after then return end
  if was then redis.call('HINCRBY', linked, was, -1) end
  if is then redis.call('HINCRBY', linked, is, 1) end
  if before and (is or not after) then redis.call('HINCRBY', linked, 'left', 1) end
end
"""
# ARGV: name and paths of the links' layout, and JSON: a list for each link of user, scim id or '', link, the scim id it takes
# the place of or '', the holder of the lease, '1' if the account was just made. holder: '' for whoever needs no lease, '-' for whoever
# changes a link only while nobody has its user. Refuses an account that is another user's, and to overwrite a link to any other
# account, or of a user whom another worker has; gives up the user's former account. Gives 1 or 0 for each.
_PUT = (
    COMMON
    + """
local function put(user, scim_id, link, instead_of, holder, made)
  if scim_id ~= '' then
    local owner = redis.call('HGET', owners, scim_id)
    if owner and owner ~= user then return 0 end
  end
  local before = redis.call('HGET', links, user)
  local old = before and string.match(before, '^[^\t]*') or ''
  if old ~= '' and old ~= scim_id and old ~= instead_of then return 0 end
  -- an account that was made a moment ago must be somebody's, where none is known
  if (old ~= '' or made == '') and lost(user, holder) then return 0 end
  if holder == '-' and not before then return 0 end
  if old ~= '' and old ~= scim_id and redis.call('HGET', owners, old) == user then redis.call('HDEL', owners, old) end
  note(before, link)
  redis.call('HSET', links, user, link)
  if scim_id ~= '' then redis.call('HSET', owners, scim_id, user) end
  return 1
end
if redis.call('HSETNX', linked, ARGV[1], ARGV[2]) == 1 and redis.call('HLEN', links) == 0 then
  redis.call('HSET', linked, 'told_apart', 1)
end
local out = {}
for _, each in ipairs(cjson.decode(ARGV[3])) do table.insert(out, put(unpack(each))) end
return out
"""
)
# ARGV: user, scim id or '', the holder of the lease or ''. Refuses to drop a link to any other account, or of a user whom another
# worker has.
_DROP = (
    COMMON
    + """
local before = redis.call('HGET', links, ARGV[1])
if before then
  if lost(ARGV[1], ARGV[3]) then return 0 end
  local old = string.match(before, '^[^\t]*')
  if old ~= '' and old ~= ARGV[2] then return 0 end
  if redis.call('HGET', owners, old) == ARGV[1] then redis.call('HDEL', owners, old) end
  note(before, false)
  redis.call('HDEL', links, ARGV[1])
end
return 1
"""
)
# ARGV: users (JSON). Gives their fingerprints (JSON), false for a user without a link.
_FINGERPRINTS = (
    COMMON
    + """
local found = redis.call('HMGET', links, unpack(cjson.decode(ARGV[1])))
for i, link in ipairs(found) do
  if link then found[i] = fingerprint(link) or '' end
end
return cjson.encode(found)
"""
)
# ARGV: the fingerprint of settled links, `left` as it was, how many links were counted, users who were not (JSON).
_NOBODY_ELSE = (
    COMMON
    + """
if (redis.call('HGET', linked, 'left') or '0') ~= ARGV[2] then return 0 end
local here = tonumber(ARGV[3])
for _, user in ipairs(cjson.decode(ARGV[4])) do
  local link = redis.call('HGET', links, user)
  if link and fingerprint(link) ~= ARGV[1] then here = here + 1 end
end
local settled = tonumber(redis.call('HGET', linked, ARGV[1]) or 0)
return redis.call('HLEN', links) - settled == here and 1 or 0
"""
)
# ARGV: cursor, count, the fingerprint of settled links. Gives the next cursor, and users (JSON; {} when there are none).
_UNSETTLED = (
    COMMON
    + """
local page = redis.call('HSCAN', links, ARGV[1], 'COUNT', ARGV[2])
local users = {}
for i = 1, #page[2], 2 do
  if fingerprint(page[2][i + 1]) ~= ARGV[3] then users[#users + 1] = page[2][i] end
end
return {page[1], cjson.encode(users)}
"""
)


class LinkStore:
    """provisioning.ports.Links of one target. paths: the mapped SCIM paths."""

    def __init__(self, redis: Redis, target: str, paths: Iterable[str]) -> None:
        self._redis = redis
        self._links, self._owners, self._linked, _ = self._keys = tuple(
            key(target, name) for name in ("links", "owners", "linked", "leased")
        )
        self._put = redis.register_script(_PUT)
        self._puts: Together[tuple[str, ...], int] = Together(self._put_all)
        self._drop = redis.register_script(_DROP)
        self._fingerprints = redis.register_script(_FINGERPRINTS)
        self._nobody_else = redis.register_script(_NOBODY_ELSE)
        self._unsettled = redis.register_script(_UNSETTLED)
        self._text = LinkText(paths)

    async def get_many(self, users: Sequence[str]) -> Mapping[str, Link]:
        if not users:
            return {}
        found = await self._redis.hmget(self._links, list(users))
        return await self._read(
            {user: text for user, text in zip(users, found, strict=True) if text is not None}
        )

    async def put(
        self, user: str, link: Link, *, instead_of: str = "", holder: str = "", made: bool = False
    ) -> bool:
        text = self._text.write(link)
        return bool(await self._puts.ask((user, link.scim_id, text, instead_of, holder, "1" if made else "")))

    async def _put_all(self, puts: Sequence[tuple[str, ...]]) -> Sequence[int]:
        # One argument: redis-py looks at each several times over.
        arguments = [self._text.layout, self._text.layout_paths, encoded(puts)]
        return list(await self._put(keys=self._keys, args=arguments))

    async def doubt(self, users: Sequence[str], pauses: Sequence[float] = PAUSES) -> None:
        """Their accounts are to be read before anything is believed of them."""
        await self.change(users, lambda _, link: link.unsure() if link.has_account else None, pauses)

    async def change(
        self,
        users: Sequence[str],
        change: Callable[[str, Link], Link | None],
        pauses: Sequence[float] = PAUSES,
    ) -> list[str]:
        """Writes anew what is known of users, from outside; None leaves a link as it is. Of whoever is being worked on once that has
        ended, for what the worker writes then would be all that is known; after these seconds all the same. Gives those
        of whom it was written.
        """
        left: list[str] = list(users)
        changed: list[str] = []
        for pause in pauses:
            if not left:
                break
            await asyncio.sleep(pause)
            holder = NOBODY if pause != pauses[-1] else ""
            refused: list[str] = []
            for start in range(0, len(left), AT_ONCE):
                links = await self.get_many(left[start : start + AT_ONCE])
                wanted = {
                    user: after for user, link in links.items() if (after := change(user, link)) is not None
                }
                puts = [
                    self.put(user, link, instead_of=links[user].scim_id, holder=holder)
                    for user, link in wanted.items()
                ]
                for user, written in zip(wanted, await asyncio.gather(*puts), strict=True):
                    (changed if written else refused).append(user)
            left = refused
        return changed

    async def drop(self, user: str, scim_id: str, *, holder: str = "") -> bool:
        return bool(await self._drop(keys=self._keys, args=[user, scim_id, holder]))

    async def owner(self, scim_id: str) -> str | None:
        owner: str | None = await self._redis.hget(self._owners, scim_id)
        return owner

    async def owners(self, scim_ids: Sequence[str]) -> Mapping[str, str]:
        """The user of each account, of those that are linked."""
        if not scim_ids:
            return {}
        found = await self._redis.hmget(self._owners, list(scim_ids))
        return {each: user for each, user in zip(scim_ids, found, strict=True) if user is not None}

    async def count(self) -> int:
        """Users with an account."""
        return int(await self._redis.hlen(self._owners))

    async def scan(self) -> AsyncIterator[Mapping[str, Link]]:
        """All links, some hundred at a time. One that is written meanwhile may come twice or not at all."""
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(self._links, cursor, count=500)
            yield await self._read(page)
            if cursor == 0:
                return

    async def _read(self, texts: Mapping[str, str]) -> dict[str, Link]:
        links = {user: self._text.read(text) for user, text in texts.items()}
        if None in links.values():
            self._text.learn(await self._layouts())
            links = {user: self._text.read(text) for user, text in texts.items()}
        return {user: link or self._text.read_without_content(texts[user]) for user, link in links.items()}

    async def _layouts(self) -> Mapping[str, str]:
        fields = await self._redis.hgetall(self._linked)
        return {name: paths for name, paths in fields.items() if name.startswith(LAYOUT)}

    # -- for a scan that sees every user (producers.attendance) -------------------------------------------------

    async def fingerprints(self, users: Sequence[str]) -> Sequence[str | None]:
        """The fingerprint of each user's link, None without one. Nothing else of a link is read."""
        found: list[str | None] = []
        for start in range(0, len(users), AT_ONCE):
            asked = json.dumps(users[start : start + AT_ONCE])
            prints = json.loads(await self._fingerprints(keys=self._keys, args=[asked]))
            found += [each if each is not False else None for each in prints]
        return found

    async def left(self) -> int:
        """How many links were ever dropped or settled: another number, and one of those counted may not be there."""
        return int(await self._redis.hget(self._linked, "left") or 0)

    async def nobody_else(self, settled: str, left: int, counted: int, uncounted: Sequence[str]) -> bool:
        """Whether all links that are not settled are those counted, or of these other users. settled: their fingerprint.
        left: as it was before the first was counted. False also when that cannot be told.
        """
        arguments = [settled, left, counted, json.dumps(uncounted)]
        return bool(await self._nobody_else(keys=self._keys, args=arguments))

    async def unsettled(self, settled: str) -> AsyncIterator[Sequence[str]]:
        """Users whose link is not settled, some at a time; everybody whose link is there all the while."""
        cursor: str | int = 0
        while True:
            cursor, users = await self._unsettled(keys=self._keys, args=[cursor, AT_ONCE, settled])
            yield list(json.loads(users))
            if int(cursor) == 0:
                return


async def digest_key(redis: Redis) -> bytes:
    """The key of all digests: made once, kept beside the links, useless without them."""
    await redis.set(DIGEST_KEY, secrets.token_hex(32), nx=True)
    return bytes.fromhex(await redis.get(DIGEST_KEY))

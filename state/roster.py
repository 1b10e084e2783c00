"""The roster: whom the site had when it was last looked at, so that counting tells whether somebody has left.

It belongs to the source and not to a target: what it says is true of the site.

scimpipe:{@drupal}:roster  hash  N       -> the users with uids N * WIDTH and up, packed; no field for a range without users
                                 version -> another one with every write
                                 targets -> JSON list: targets that have been told of everybody who is not in it any more

A page is packed as JSON, [steps from one uid to the next, uuids], and compressed by its letters alone, since nothing in
random ids repeats: 22 bytes a user. As text, because a uuid of Drupal's is any text that somebody once imported.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Self

from provisioning.model import Total
from state.client import Redis
from state.keys import SOURCE, key

# Uids of one page. Narrow: a page is what is read from the database where the count does not agree. Wide: a million users
# are a thousand pages.
WIDTH = 1000
# Pages asked of Redis at once while all are read: 20 kB each.
PAGES = 50
# ARGV: version as read or '', new version, then field and value in turns; an empty value deletes.
_WRITE = """
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2])
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""


@dataclass(frozen=True, slots=True)
class Page:
    """The users of WIDTH uids. packed: empty when there are none."""

    total: Total = field(default_factory=Total)
    packed: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, users: Mapping[int, str]) -> Self:
        """users: uid -> uuid."""
        if not users:
            return cls()
        uids = sorted(users)
        steps = [after - before for before, after in pairwise([0, *uids])]
        text = json.dumps([steps, [users[uid] for uid in uids]], separators=(",", ":"))
        letters = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
        return cls(Total(len(uids), sum(uids)), letters.compress(text.encode()) + letters.flush())

    @classmethod
    def read(cls, packed: bytes) -> Self:
        uids = list(_unpacked(packed))
        return cls(Total(len(uids), sum(uids)), packed)

    def users(self) -> dict[int, str]:
        """Uid -> uuid, by uid."""
        return _unpacked(self.packed) if self.packed else {}


@dataclass(frozen=True, slots=True)
class Roster:
    """What a process keeps of it: the totals of the pages by number, and the targets that are up to date with it."""

    version: str = ""
    totals: Mapping[int, Total] = field(default_factory=dict)
    targets: frozenset[str] = frozenset()

    @property
    def total(self) -> Total:
        """Of all users."""
        pages = self.totals.values()
        return Total(sum(page.count for page in pages), sum(page.uids for page in pages))


class RosterStore:
    """The roster, in Redis. A write succeeds only if nobody has written, and Redis was not emptied, since `read`: totals
    that do not belong to the pages would hide who leaves.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = key(SOURCE, "roster")
        self._write = redis.register_script(_WRITE)
        self._roster: Roster | None = None

    async def read(self) -> Roster:
        """One small request, unless another process has written."""
        version = await self._redis.hget(self._key, "version") or ""
        if self._roster is None or self._roster.version != version:
            self._roster = await self._load(version)
        return self._roster

    async def pages(self, numbers: Iterable[int]) -> dict[int, Page]:
        """Pages by number, empty ones too."""
        wanted = list(numbers)
        if not wanted:
            return {}
        packed = await self._redis.execute_command("HMGET", self._key, *wanted, NEVER_DECODE=True)
        return {number: Page.read(raw) if raw else Page() for number, raw in zip(wanted, packed, strict=True)}

    async def write(self, pages: Mapping[int, Page], targets: frozenset[str] | None = None) -> bool:
        """False, and nothing written, when it is not as it was read. targets: None leaves them as they are."""
        before = self._roster or Roster()
        after = replace(
            before,
            version=secrets.token_hex(8),
            totals={**before.totals, **{number: page.total for number, page in pages.items()}},
            targets=before.targets if targets is None else targets,
        )
        fields: dict[int | str, bytes | str] = {number: page.packed for number, page in pages.items()}
        if targets is not None:
            fields["targets"] = json.dumps(sorted(targets))
        pairs = [each for pair in fields.items() for each in pair]
        written = bool(await self._write(keys=[self._key], args=[before.version, after.version, *pairs]))
        self._roster = after if written else None
        return written

    async def _load(self, version: str) -> Roster:
        totals: dict[int, Total] = {}
        targets: frozenset[str] = frozenset()
        async for rows in self._rows():
            for name, value in rows.items():
                if name.isdigit():
                    totals[int(name)] = Page.read(value).total
                elif name == b"targets":
                    targets = frozenset(json.loads(value))
        return Roster(version, totals, targets)

    async def _rows(self) -> AsyncIterator[Mapping[bytes, bytes]]:
        cursor = 0
        while True:
            cursor, rows = await self._redis.execute_command(
                "HSCAN", self._key, cursor, "COUNT", PAGES, NEVER_DECODE=True
            )
            yield rows
            if cursor == 0:
                return


def _unpacked(packed: bytes) -> dict[int, str]:
    steps, uuids = json.loads(zlib.decompress(packed))
    return dict(zip(accumulate(steps), uuids, strict=True))

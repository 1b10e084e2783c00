"""What was learned of a target's manners."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from config.settings import TargetSettings
from state.client import Redis
from state.keys import key

_REWRITTEN = "rewritten:"
# What other workers learn is seen after this long; what this one learns, at once.
_STALE_SECONDS = 30.0


class QuirkStore:
    """What was learned of a target, as words like no_patch or unfiltered:externalId. Read through a short cache."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._key = key(target, "quirks")
        self._items: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def items(self) -> frozenset[str]:
        if time.monotonic() - self._read_at > _STALE_SECONDS:
            self._items = frozenset(await self._redis.smembers(self._key))
            self._read_at = time.monotonic()
        return self._items

    async def add(self, *items: str) -> None:
        new = set(items) - self._items
        if new:
            await self._redis.sadd(self._key, *new)
            self._items |= new

    async def forget(self) -> None:
        """After the target was changed or replaced: learn anew."""
        await self._redis.delete(self._key)
        self._read_at = float("-inf")


class RewrittenStore:
    """provisioning.ports.Rewritten, kept among the quirks: rewritten:HASH:ATTRIBUTE. The hash is of what was sent and how: an edit
    of the expression, or of update_method, may have mended it.
    """

    def __init__(self, quirks: QuirkStore, settings: TargetSettings) -> None:
        self._quirks = quirks
        self._words = {
            f"{_REWRITTEN}{_hash(value.value, value.on, settings.update_method)}:{name}": name
            for name, value in settings.mapping.items()
        }
        self._of: frozenset[str] = frozenset()
        self._names: frozenset[str] = frozenset()

    async def names(self) -> frozenset[str]:
        items = await self._quirks.items()
        if items is not self._of:
            self._of = items
            self._names = frozenset(self._words[item] for item in items & self._words.keys())
        return self._names

    async def add(self, names: Sequence[str]) -> None:
        await self._quirks.add(*(word for word, name in self._words.items() if name in names))


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()

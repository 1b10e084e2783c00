"""What was done, newest first: a stream of some 100,000 entries a target. Written by the ledger as it settles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from config.settings import OperationName
from provisioning.model import OutcomeName, Result
from state.client import Redis
from state.entries import decode_result
from state.keys import key

_PAGE = 500
_FOLLOW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """at: Unix seconds."""

    at: float
    result: Result


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries a person asked for; None: all. since: Unix seconds."""

    user: str | None = None
    operation: OperationName | None = None
    outcome: OutcomeName | None = None
    since: float | None = None

    def accepts(self, entry: Entry) -> bool:
        return (
            self.user in (None, entry.result.user)
            and self.operation in (None, entry.result.operation)
            and self.outcome in (None, entry.result.outcome)
        )


class History:
    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._key = key(target, "history")

    async def read(self, wanted: Wanted, limit: int = 100) -> list[Entry]:
        """The newest `limit` entries that are wanted, newest first."""
        entries: list[Entry] = []
        newest = "+"
        oldest = str(round(wanted.since * 1000)) if wanted.since is not None else "-"
        while len(entries) < limit:
            page = await self._redis.xrevrange(self._key, max=newest, min=oldest, count=_PAGE)
            entries += [entry for entry in map(_entry, page) if wanted.accepts(entry)]
            if len(page) < _PAGE:
                break
            newest = f"({page[-1][0]}"
        return entries[:limit]

    async def follow(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries as they are written, for ever."""
        last = await self._redis.xrevrange(self._key, count=1)
        position = last[0][0] if last else "0-0"
        while True:
            for raw in await self._redis.xrange(self._key, min=f"({position}", count=_PAGE):
                position = raw[0]
                if wanted.accepts(entry := _entry(raw)):
                    yield entry
            await asyncio.sleep(_FOLLOW_SECONDS)


def _entry(raw: tuple[str, dict[str, str]]) -> Entry:
    identifier, fields = raw
    return Entry(int(identifier.partition("-")[0]) / 1000, decode_result(json.loads(fields["e"])))

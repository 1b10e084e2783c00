"""Marks: up to which moment of Drupal's the changes of a site were seen, for each target.

scimpipe:{T}:changes  hash  since -> Unix seconds; seen -> JSON {uuid: changed}, of the overlap; again -> JSON [uuid]; gone ->
                            JSON [uuid], of a source that cannot count
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from state.client import Redis
from state.keys import key


@dataclass(frozen=True, slots=True)
class Mark:
    """since: Drupal's Unix time up to which changes were seen. seen: uuid -> changed, of the overlap. again: those of them
    whom the request that saved them may have saved once more since. gone: users who were missing already.
    """

    since: int
    seen: Mapping[str, int] = field(default_factory=dict)
    again: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class MarkStore:
    """The mark of one target, in Redis; written after submitting, so that a crash submits again and loses nothing."""

    def __init__(self, redis: Redis, target: str) -> None:
        self._redis = redis
        self._key = key(target, "changes")

    async def read(self) -> Mark | None:
        fields = await self._redis.hgetall(self._key)
        if "since" not in fields:
            return None
        # Marks written before there was `again` are read as well.
        again = frozenset(json.loads(fields.get("again", "[]")))
        return Mark(
            int(fields["since"]), json.loads(fields["seen"]), again, frozenset(json.loads(fields["gone"]))
        )

    async def write(self, mark: Mark) -> None:
        lists = {"again": json.dumps(sorted(mark.again)), "gone": json.dumps(sorted(mark.gone))}
        fields = {"since": mark.since, "seen": json.dumps(mark.seen), **lists}
        await self._redis.hset(self._key, mapping=fields)

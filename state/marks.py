"""Marks: up to which moment of Drupal's the changes of a site were seen, for each target.

scimpipe:{T}:changes  hash  since -> Unix seconds; seen -> JSON {uuid: changed}, of the overlap; gone -> JSON [uuid], of a
                            source that cannot count
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from state.client import Redis
from state.keys import key


@dataclass(frozen=True, slots=True)
class Mark:
    """since: Drupal's Unix time up to which changes were seen. seen: uuid -> changed, of the overlap. gone: users who
    were missing already.
    """

    since: int
    seen: Mapping[str, int] = field(default_factory=dict)
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
        return Mark(int(fields["since"]), json.loads(fields["seen"]), frozenset(json.loads(fields["gone"])))

    async def write(self, mark: Mark) -> None:
        fields = {"since": mark.since, "seen": json.dumps(mark.seen), "gone": json.dumps(sorted(mark.gone))}
        await self._redis.hset(self._key, mapping=fields)

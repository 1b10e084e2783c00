"""What was learned of a target's manners, as words that can be kept: no_patch, no_version, put_path:P, unfiltered:A."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

NO_PATCH = "no_patch"


def put_path(path: str) -> str:
    """PATCH of this path is refused though others work: send the attribute by PUT."""
    return f"put_path:{path}"


def unfiltered(attribute: str) -> str:
    """A filter on this attribute cannot be believed: read the listing."""
    return f"unfiltered:{attribute}"


class QuirkStore(Protocol):
    async def items(self) -> frozenset[str]: ...

    async def add(self, *items: str) -> None: ...


class QuirksInMemory:
    """For commands that write nothing, and for tests."""

    def __init__(self, items: Iterable[str] = ()) -> None:
        self._items = set(items)

    async def items(self) -> frozenset[str]:
        return frozenset(self._items)

    async def add(self, *items: str) -> None:
        self._items.update(items)

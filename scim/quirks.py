"""What was learned of a target's manners, as words that can be kept: no_patch, no_version, put_path:P, unfiltered:A,
no_bulk, bulk_bytes:N.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

NO_PATCH = "no_patch"
# Bulk is announced and not there, or refused whatever is in it.
NO_BULK = "no_bulk"
_BULK_BYTES = "bulk_bytes:"


def put_path(path: str) -> str:
    """PATCH of this path is refused though others work: send the attribute by PUT."""
    return f"put_path:{path}"


def unfiltered(attribute: str) -> str:
    """A filter on this attribute cannot be believed: read the listing."""
    return f"unfiltered:{attribute}"


def bulk_bytes(most: int) -> str:
    """Twice as large a Bulk request was too large (413)."""
    return f"{_BULK_BYTES}{most}"


def bytes_of(word: str) -> int | None:
    """The number in bulk_bytes:N; None in any other word."""
    number = word.removeprefix(_BULK_BYTES)
    return int(number) if number != word and number.isascii() and number.isdigit() else None


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

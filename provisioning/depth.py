"""How deep JSON from outside may nest: SCIM and JSON:API need some ten levels, and recursion ends near three hundred."""

from __future__ import annotations

from typing import Any

DEEPEST = 64


def too_deep(value: Any, text: bytes) -> bool:
    """Whether lists and objects nest more than DEEPEST times. text: what it was read from; with so few brackets in it no look
    is needed.
    """
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [each for each in value.values() if isinstance(each, dict | list)]
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict | list)]
    return []

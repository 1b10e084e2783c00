"""How deep JSON from outside may nest: SCIM and JSON:API need some ten levels, and recursion ends near three hundred."""

from __future__ import annotations

from typing import Any

DEEPEST = 64


def too_deep(value: Any, size: int) -> bool:
    """Whether lists and objects nest more than DEEPEST times. size: of the text it was read from, in bytes; what is
    shorter than the brackets would be needs no look.
    """
    if size < 2 * DEEPEST:
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

"""PHP's serialisation, as Drupal stores configuration and the options of a link: unserialize() for plain data.

https://www.php.net/manual/en/function.serialize.php. Objects and references are refused: nothing here needs them.
"""

from __future__ import annotations

from typing import Any, NoReturn

from provisioning.depth import DEEPEST


def unserialize(data: bytes) -> Any:
    """None, bool, int, float, str, list (an array with the keys 0..n-1, in order) or dict.

    Raises ValueError for anything else.
    """
    value, end = _value(data, 0, DEEPEST)
    if end != len(data):
        _refuse(end)
    return value


def _value(data: bytes, at: int, levels: int) -> tuple[Any, int]:
    kind = data[at : at + 2]
    if kind == b"N;":
        return None, at + 2
    if kind == b"s:":
        return _string(data, at + 2)
    if kind == b"a:":
        return _array(data, at + 2, levels)
    if kind not in {b"b:", b"i:", b"d:"}:
        _refuse(at)
    text, end = _until(data, at + 2, b";")
    return _number(kind, text), end


def _number(kind: bytes, text: bytes) -> bool | int | float:
    if kind == b"b:":
        return text == b"1"
    return int(text) if kind == b"i:" else float(text)


def _string(data: bytes, at: int) -> tuple[str, int]:
    """`length:"text";`, the length in bytes."""
    length, start = _until(data, at, b":")
    end = start + 1 + int(length)
    if data[start : start + 1] != b'"' or data[end : end + 2] != b'";':
        _refuse(start)
    return data[start + 1 : end].decode(), end + 2


def _array(data: bytes, at: int, levels: int) -> tuple[list[Any] | dict[Any, Any], int]:
    """`count:{key value key value}`."""
    count, at = _until(data, at, b":")
    if data[at : at + 1] != b"{" or levels == 0:
        _refuse(at)
    at += 1
    items: dict[Any, Any] = {}
    for _ in range(int(count)):
        key, at = _value(data, at, levels - 1)
        if not isinstance(key, int | str):
            _refuse(at)
        items[key], at = _value(data, at, levels - 1)
    if data[at : at + 1] != b"}":
        _refuse(at)
    return (list(items.values()) if list(items) == list(range(len(items))) else items), at + 1


def _until(data: bytes, at: int, mark: bytes) -> tuple[bytes, int]:
    end = data.find(mark, at)
    if end < 0:
        _refuse(at)
    return data[at:end], end + 1


def _refuse(at: int) -> NoReturn:
    raise ValueError(f"not PHP-serialised plain data at byte {at}")

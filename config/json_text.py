"""JSON as it is sent, stored and read: compact, UTF-8, and quick, for there are some ten texts of it a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

# Of so many digits together a number may be more than 64 bits, which orjson would round.
_LONG = b"0" * 19
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def encoded(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """default: what becomes of a value that JSON does not know, as for `json.dumps`.

    Raises TypeError and ValueError for what JSON cannot carry at all.
    """
    try:
        return orjson.dumps(value, default)
    except TypeError:
        # Half a character, which a target gave us and JSON can spell; a number of more than 64 bits.
        return json.dumps(value, default=default).encode()


def decoded(text: bytes) -> Any:
    """Raises ValueError and RecursionError, as `json.loads` does, whose answer it is."""
    if _LONG not in text.translate(_DIGITS):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            # It is stricter: half a character, NaN, another encoding than UTF-8, and how deep lists may nest.
            pass
    return json.loads(text)

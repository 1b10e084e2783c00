"""JSON as it is sent and stored: compact, UTF-8, and quick, for there are five texts of it a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson


def encoded(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """default: what becomes of a value that JSON does not know, as for `json.dumps`.

    Raises TypeError and ValueError for what JSON cannot carry at all.
    """
    try:
        return orjson.dumps(value, default)
    except TypeError:
        # Half a character, which a target gave us and JSON can spell; a number of more than 64 bits.
        return json.dumps(value, default=default).encode()

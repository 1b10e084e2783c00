"""JSON as it is sent and stored: compact, UTF-8, and quick, for there are five texts of it a user."""

from __future__ import annotations

import json
from typing import Any

import orjson


def encoded(value: Any) -> bytes:
    """Raises TypeError and ValueError for what JSON cannot carry at all."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Half a character, which a target gave us and JSON can spell; a number of more than 64 bits.
        return json.dumps(value).encode()

"""Log records of libraries: their words stay, and of what they fill in only numbers and ids.

dramatiq fills in messages and errors, apscheduler jobs, asyncio whole tasks and call-backs with their arguments.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

_ID = re.compile(r"[0-9A-Fa-f-]{8,64}|\d+")
# asyncio writes its context into the text itself, one `key: repr` a line, and a call-back with its arguments.
_ASYNCIO_WORDS = re.compile(r"[^\n(<]*")


def without_values(record: logging.LogRecord) -> logging.LogRecord:
    """A copy with its arguments worked in, as far as they may be seen."""
    shown = copy.copy(record)
    shown.msg, shown.args = _text(record), ()
    return shown


def _text(record: logging.LogRecord) -> str:
    words = record.msg if isinstance(record.msg, str) else _argument(record.msg)
    if record.name.partition(".")[0] == "asyncio" and not record.args:
        found = _ASYNCIO_WORDS.match(words)
        return found[0].strip() if found else ""
    if not record.args:
        return str(words)
    try:
        return str(words % _arguments(record.args))
    except (TypeError, ValueError, KeyError):  # a %d for something we do not show
        return str(words)


def _arguments(args: Any) -> Any:
    if isinstance(args, Mapping):
        return {key: _argument(each) for key, each in args.items()}
    return tuple(_argument(each) for each in args)


def _argument(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (UUID, dt.timedelta, dt.datetime)):
        return str(value)
    if isinstance(value, str):
        return value if _ID.fullmatch(value) else "..."
    for name in ("message_id", "id"):  # a dramatiq message, an apscheduler job
        known = getattr(value, name, None)
        if isinstance(known, str) and _ID.fullmatch(known):
            return f"{type(value).__name__} {known}"
    return type(value).__name__

"""Logging: JSON lines, or a readable form on a terminal; names, ids and status codes only (docs/logs.md).

An exception is shown as its class and the places it passed, never its text or any variable: both can hold values.
A library's line shows its own words, and of what it fills in only numbers and ids (config.foreign).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import lru_cache
from pathlib import PurePath
from typing import Any, ClassVar, TextIO

import structlog

from config.foreign import without_values
from config.json_text import encoded
from config.text import printable

__all__ = ["EVENTS", "configure", "get_logger", "printable"]

EVENTS = frozenset(
    {
        "user_provisioned", "user_skipped", "user_failed", "user_dead_lettered", "user_held", "sync_started",
        "sync_finished", "sync_missed", "sync_resumed", "sync_skipped", "target_quarantined", "target_recovered", "target_throttled",
        "source_unreadable", "source_recovered", "changes_found", "changes_off", "jobs_resent", "worker_started",
        "worker_stopped", "scheduler_started", "scheduler_leading", "scheduler_standing_by", "unexpected_error",
        "unknown_target", "redis_may_lose_work", "abandoned",
    }
)  # fmt: skip

_Event = MutableMapping[str, Any]
# Libraries whose INFO holds URLs, arguments or noise.
_QUIET = ("httpx", "httpcore", "aiohttp", "dramatiq", "apscheduler", "sqlalchemy", "asyncio", "tzlocal")
# Errors of these packages carry a `detail` made for people, free of values; others' `detail` can be anything.
_OURS = {"config", "drupal", "scim", "provisioning", "state", "producers", "workers", "cli"}
_FRAMES = 8
_DEEPEST = 4


def configure(stream: TextIO, *, json: bool | None = None, quiet: bool = False) -> None:
    """Sends all logs of this process to a stream. json: None decides by whether the stream is a terminal. quiet: only
    warnings and errors.
    """
    level = logging.WARNING if quiet else logging.INFO
    shared: list[Any] = [
        structlog.processors.add_log_level,
        _stamped,
        _without_exception_text,
        _shown,
    ]
    renderer: Any = _console() if (stream.isatty() if json is None else not json) else _json_line
    _Lines.stream = stream
    # Our own lines go straight to the stream: a line a user, and logging's records cost several times as much.
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger() -> Any:
    """Once logs are configured. Bound at once: else each line would ask anew what to write it with."""
    return structlog.get_logger().bind()


class _Lines:
    """Writes to the stream that was configured last; the lines of one turn of an event loop at once, as there is a line a user.
    As with logging's own handlers, a line that cannot be written (whoever read them is gone) fails nobody's work.
    """

    stream: TextIO = sys.stderr
    _waiting: ClassVar[list[str]] = []
    # The loop in whose next turn they are written.
    _loop: ClassVar[asyncio.AbstractEventLoop | None] = None
    _lock = threading.Lock()

    def __init__(self, *_: Any) -> None: ...

    def msg(self, line: str) -> None:
        self._waiting.append(line + "\n")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
            return
        if loop is not _Lines._loop:
            _Lines._loop = loop
            loop.call_soon(self._write)

    @classmethod
    def _write(cls) -> None:
        with cls._lock:
            cls._loop, lines = None, cls._waiting[:]
            # What another thread adds meanwhile stays, and is written by whoever added it.
            del cls._waiting[: len(lines)]
            if lines:
                with suppress(OSError, ValueError):
                    cls.stream.write("".join(lines))
                    cls.stream.flush()

    debug = info = warning = error = critical = msg


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """One line for a library's record."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(without_values(record))


def _console() -> Any:
    return structlog.dev.ConsoleRenderer(timestamp_key="at", pad_event_to=20)


_PLAIN_KINDS, _TEXTS = frozenset({bool, int, float, type(None)}), frozenset({str})


def _json_line(_: Any, __: str, event: _Event) -> str:
    return encoded(event).decode()


def _stamped(_: Any, __: str, event: _Event) -> _Event:
    """UTC, as RFC 3339 writes it."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    event["at"] = f"{_second(seconds)}.{rest // 1000:06}Z"
    return event


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Thousands of lines have the same one."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _foreign(_: Any, __: str, event: _Event) -> _Event:
    """A library's line has its logger's name."""
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
        if record.exc_info:
            event["exc_info"] = record.exc_info
    return event


def _without_exception_text(_: Any, __: str, event: _Event) -> _Event:
    info = event.pop("exc_info", None)
    error = _current(info) if info else None
    if error is None:
        return event
    stack = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    event["error"] = type(error).__name__
    event["error_at"] = [
        f"{PurePath(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in stack[-_FRAMES:]
    ]
    detail = getattr(error, "detail", None)
    if isinstance(detail, str) and type(error).__module__.partition(".")[0] in _OURS:
        event["error_detail"] = detail
    return event


def _current(info: Any) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    found = info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None


def _shown(_: Any, __: str, event: _Event) -> _Event:
    """Nobody's name forges a log line or moves a terminal's cursor, and no object shows its inside."""
    for key, value in event.items():
        # Nearly every value is a plain text or number, and there is a line for every user.
        kind = type(value)
        if (kind is str and value.isprintable()) or kind in _PLAIN_KINDS:
            continue
        if kind is list and _TEXTS.issuperset(map(type, value)) and "".join(value).isprintable():
            continue
        if not key.startswith("_"):  # structlog's own, taken out before the line is written
            event[key] = _plain(value)
    return event


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, PurePath):
        return printable(str(value))
    if depth == _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {printable(str(key)): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(each, depth + 1) for each in value), key=str)
    return type(value).__name__

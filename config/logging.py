"""Logging: JSON lines, or a readable form on a terminal; names, ids and status codes only (docs/logs.md).

An exception is shown as its class and the places it passed, never its text or any variable: both can hold values.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

EVENTS = frozenset(
    {
        "user_provisioned", "user_skipped", "user_failed", "user_dead_lettered", "user_held", "sync_started",
        "sync_finished", "sync_resumed", "sync_skipped", "target_quarantined", "target_recovered", "target_throttled",
        "source_unreadable", "source_recovered", "changes_found", "changes_off", "jobs_resent", "worker_started",
        "worker_stopped", "scheduler_started", "scheduler_leading", "scheduler_standing_by", "unexpected_error",
        "unknown_target",
    }
)  # fmt: skip

_Event = MutableMapping[str, Any]
# Libraries whose INFO holds URLs, arguments or noise.
_QUIET = ("httpx", "httpcore", "aiohttp", "dramatiq", "apscheduler", "sqlalchemy", "asyncio", "tzlocal")
_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029}


def configure(stream: TextIO, *, json: bool | None = None, quiet: bool = False) -> None:
    """Sends all logs of this process to a stream. json: None decides by whether the stream is a terminal. quiet: only
    warnings and errors.
    """
    as_json = not stream.isatty() if json is None else json
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _without_exception_text,
        _without_control_characters,
    ]
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else _console()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if quiet else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> Any:
    return structlog.get_logger(f"scimpipe.{name}")


def _console() -> Any:
    return structlog.dev.ConsoleRenderer(timestamp_key="at", pad_event_to=20)


def _foreign(_: Any, __: str, event: _Event) -> _Event:
    """A library's line: its logger's name; dramatiq's own texts hold no more than ids."""
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
        if record.exc_info:
            event["exc_info"] = record.exc_info
    return event


def _without_exception_text(_: Any, __: str, event: _Event) -> _Event:
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else _current(info)
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        event["error"] = type(error).__name__
        event["error_at"] = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}" for frame in frames
        ]
    return event


def _current(info: Any) -> BaseException | None:

    found = info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None


def _without_control_characters(_: Any, __: str, event: _Event) -> _Event:
    """Nobody's name forges a log line or moves a terminal's cursor."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value)
    return event


def printable(text: str) -> str:
    """Text with control and direction characters written out as escapes, U+000A as backslash u000a."""
    return "".join(
        f"\\u{ord(char):04x}" if ord(char) < 32 or 127 <= ord(char) < 160 or ord(char) in _BIDI else char
        for char in text
    )

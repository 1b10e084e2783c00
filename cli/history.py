"""`scimpipe history`: what was done, newest first."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.output import iso, local
from cli.session import (
    DONE,
    CommandError,
    ConfigOption,
    JsonOption,
    Session,
    TargetOption,
    opened,
)


def history(
    user: Annotated[
        str | None, typer.Argument(help="uid, uuid, name or mail; everybody when left out")
    ] = None,
    target: TargetOption = None,
    operation: Annotated[
        str | None, typer.Option("--operation", help="create, update, deactivate, delete, link, none")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", help="done, unchanged, skipped, failed, held, pending")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="An ISO time, or an age such as 30m, 12h, 7d.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most entries.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on printing as things happen; with --json a line each.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What was done, newest first. Names of attributes, never values."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        async with opened(session) as all_of_it:
            names = session.targets(target)
            wanted = await _wanted(all_of_it, names, user, operation, outcome, since)
            entries = [
                entry for name in names for entry in await all_of_it.state(name).history.read(wanted, limit)
            ]
            entries.sort(key=lambda entry: entry.at, reverse=True)
            rows = [_history_row(entry) for entry in entries[:limit]]
            session.output.document(rows)
            session.output.table(_HISTORY_COLUMNS, (_history_cells(row) for row in rows), "nothing yet")
            if follow:
                import asyncio

                await asyncio.gather(*(_follow(session, all_of_it.state(name), wanted) for name in names))
        return DONE

    session.run(body)


_HISTORY_COLUMNS = (
    "at",
    "user",
    "target",
    "trigger",
    "operation",
    "outcome",
    "changes",
    "status_code",
    "attempt",
    "detail",
)


async def _follow(session: Session, state: Any, wanted: Any) -> None:
    async for entry in state.history.follow(wanted):
        row = _history_row(entry)
        session.output.line(row)
        cells = _history_cells(row)
        session.output.say("  ".join("" if cell is None else str(cell) for cell in cells))


def _history_row(entry: Any) -> dict[str, Any]:
    result = entry.result
    return {
        "at": iso(entry.at),
        "user": result.user,
        "target": result.target,
        "trigger": result.trigger.value,
        "operation": result.operation.value,
        "outcome": result.outcome.value,
        "changes": list(result.changes),
        "status_code": result.status_code,
        "duration_ms": result.duration_ms,
        "attempt": result.attempt,
        "detail": result.detail,
    }


def _history_cells(row: Mapping[str, Any]) -> Sequence[Any]:
    return [local(row["at"]), *(row[column] for column in _HISTORY_COLUMNS[1:])]


async def _wanted(
    all_of_it: Any,
    names: Sequence[str],
    user: str | None,
    operation: str | None,
    outcome: str | None,
    since: str | None,
) -> Any:
    from config.settings import OperationName
    from provisioning.model import OutcomeName
    from state.history import Wanted

    return Wanted(
        user=None if user is None else await _uuid(all_of_it, names, user),
        operation=_choice(OperationName, "--operation", operation),
        outcome=_choice(OutcomeName, "--outcome", outcome),
        since=_moment(since),
    )


async def _uuid(all_of_it: Any, names: Sequence[str], word: str) -> str:
    """Whom a word means. A uuid may be of somebody whom the history alone remembers, and needs no Drupal. Raises CommandError."""
    from producers.submission import resolve
    from provisioning.errors import SourceUnreadable
    from provisioning.model import UUID

    is_uuid = UUID.fullmatch(word) is not None
    try:
        resolved = await resolve(all_of_it.reader, word, [all_of_it.state(name) for name in names])
    except SourceUnreadable:
        if is_uuid:
            return word
        raise
    if resolved.uuid is None and not is_uuid:
        raise CommandError(f"{word}: {resolved.problem}; of a user who is gone the uuid alone is known")
    return resolved.uuid or word


def _choice(kind: Any, option: str, word: str | None) -> Any:
    if word is None:
        return None
    if word not in list(kind):
        raise CommandError(f"{option} {word}: write one of {', '.join(kind)}")
    return kind(word)


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    age = re.fullmatch(r"(\d+)([smhd])", text)
    if age:
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}[age.group(2)]
        return max(0.0, time.time() - int(age.group(1)) * unit)
    try:
        return max(0.0, dt.datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError):
        raise CommandError(
            f"--since {text}: write an age such as 30m, 12h or 7d, or a time such as 2026-11-23T08:00"
        ) from None

"""What the ledger keeps as JSON: results, dead letters, held removals. Ids, names and codes; never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.settings import OperationName, Trigger
from provisioning.model import OutcomeName, Presence, Result

_PLAIN = (
    "target", "user", "scim_id", "status_code", "scim_type", "detail", "attempt", "duration_ms", "retry_after_seconds",
    "attempt_spent", "leaving",
)  # fmt: skip
_LEFT_OUT = (None, "")


def encode_result(result: Result) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "trigger": result.trigger,
        "operation": result.operation,
        "outcome": result.outcome,
        "changes": list(result.changes),
    }
    for name in _PLAIN:
        if (value := getattr(result, name)) not in _LEFT_OUT:
            entry[name] = value
    return entry


def decode_result(entry: Mapping[str, Any]) -> Result:
    plain = {name: entry[name] for name in _PLAIN if name in entry}
    if "leaving" in plain:
        plain["leaving"] = Presence(plain["leaving"])
    return Result(
        **plain,
        trigger=Trigger(entry["trigger"]),
        operation=OperationName(entry["operation"]),
        outcome=OutcomeName(entry["outcome"]),
        # Lua writes an empty list as an object.
        changes=tuple(entry.get("changes") or ()),
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A user whose provisioning failed for good. Times in Unix seconds."""

    user: str
    target: str
    operation: OperationName
    attempts: int
    status_code: int | None
    scim_type: str | None
    detail: str
    first_failed_at: float
    last_failed_at: float

    @classmethod
    def read(cls, user: str, entry: Mapping[str, Any]) -> DeadLetter:
        return cls(
            user=user,
            target=entry["target"],
            operation=OperationName(entry["operation"]),
            attempts=int(entry.get("attempt", 1)),
            status_code=entry.get("status_code"),
            scim_type=entry.get("scim_type"),
            detail=entry.get("detail", ""),
            first_failed_at=entry["first"] / 1000,
            last_failed_at=entry["last"] / 1000,
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A removal over the guard's budget, or an orphan. changes: of an update, the attributes it would take away.
    leaving: else, how the user has left. since: Unix seconds.
    """

    user: str
    target: str
    operation: OperationName
    scim_id: str | None
    changes: tuple[str, ...]
    leaving: str | None
    detail: str
    since: float

    @classmethod
    def read(cls, user: str, entry: Mapping[str, Any]) -> Held:
        return cls(
            user=user,
            target=entry["target"],
            operation=OperationName(entry["operation"]),
            scim_id=entry.get("scim_id"),
            changes=tuple(entry.get("changes") or ()),
            leaving=entry.get("leaving"),
            detail=entry.get("detail", ""),
            since=entry["first"] / 1000,
        )

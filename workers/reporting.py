"""One log line a user worked on (DESIGN 5.2): names, ids and status codes."""

from __future__ import annotations

from typing import Any

from dramatiq.middleware import CurrentMessage

from provisioning.model import OutcomeName, Result

_EVENTS = {
    OutcomeName.DONE: ("user_provisioned", "info"),
    OutcomeName.UNCHANGED: ("user_provisioned", "info"),
    OutcomeName.SKIPPED: ("user_skipped", "info"),
    OutcomeName.PENDING: ("user_failed", "warning"),
    OutcomeName.FAILED: ("user_dead_lettered", "error"),
    OutcomeName.HELD: ("user_held", "warning"),
}


def log_result(log: Any, result: Result) -> None:
    event, level = _EVENTS[result.outcome]
    message = CurrentMessage.get_current_message()
    known = {
        "status_code": result.status_code,
        "scim_id": result.scim_id,
        "scim_type": result.scim_type,
        "detail": result.detail,
        "retry_after_seconds": result.retry_after_seconds,
        "message_id": message.message_id if message else None,
    }
    getattr(log, level)(
        event,
        target=result.target,
        user=result.user,
        trigger=str(result.trigger),
        operation=str(result.operation),
        outcome=str(result.outcome),
        changes=list(result.changes),
        attempt=result.attempt,
        duration_ms=result.duration_ms,
        **{name: value for name, value in known.items() if value not in (None, "")},
    )

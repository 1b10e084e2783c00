"""What about a scimpipe that seems well wants a person: said by `status`."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.output import iso

if TYPE_CHECKING:
    from config.settings import Settings
    from state.polls import Polled
    from state.processes import Announced

# In polls, and in seconds at least: what a large site may take for one.
LATE_POLLS, LATE_SECONDS = 10, 300.0
# What fails once may succeed a moment later.
FAILING_SECONDS = 60.0
_TAKES = {"interactive": "manual and automatic changes", "bulk": "full syncs"}
_WITHOUT = {
    "scheduler": "no scheduler is running: no full sync starts by itself, lost messages are not sent again and no quarantine "
    "ends; start `scimpipe scheduler`",
    "changes": "change detection is not running: what happens in Drupal waits for the next full sync; start `scimpipe changes`",
}


def of_processes(settings: Settings, alive: Mapping[str, Sequence[Announced]], digest: str) -> Iterator[str]:
    """alive: by kind. digest: of the config at hand."""
    for kind, announced in alive.items():
        stale = sum(each.config != digest for each in announced)
        if stale:
            yield (
                f"{stale} of {len(announced)} {kind} processes were started with another scimpipe.toml than this one, or by "
                "another release: restart them"
            )
    lanes = {lane for each in alive["worker"] for lane in each.lanes}
    # The former release's say nothing of lanes.
    told = alive["worker"] and all(each.lanes for each in alive["worker"])
    for lane, what in _TAKES.items():
        if told and lane not in lanes:
            yield f"no worker takes {what}: start `scimpipe worker --lane {lane}`"
    if not alive["scheduler"]:
        yield _WITHOUT["scheduler"]
    if not alive["changes"] and _polled(settings):
        yield _WITHOUT["changes"]


def of_polls(settings: Settings, polled: Polled, running: bool) -> Iterator[str]:
    if not running or not _polled(settings):
        return
    if polled.failing_since is not None:
        if time.time() - polled.failing_since > max(FAILING_SECONDS, 2 * settings.drupal.poll_seconds):
            yield f"polls of change detection fail since {iso(polled.failing_since)}: {polled.reason}"
    elif polled.at is not None:
        seconds = time.time() - polled.at
        if seconds > max(LATE_SECONDS, LATE_POLLS * settings.drupal.poll_seconds):
            yield f"no poll of change detection has come to an end since {iso(polled.at)}"


def of_full_syncs(settings: Settings, targets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """targets: as `status` shows them."""
    from producers.schedule import overdue

    for name, shown in targets.items():
        last = shown["last_run"]
        if last is None:
            continue
        if last["error"]:
            yield f"{name}: its full sync cannot go on: {last['error']}"
        begun = dt.datetime.fromisoformat(last["started_at"]).timestamp()
        due = overdue(settings.targets[name], begun)
        if due is not None:
            under_way = "" if last["at"] else f"; the one of {last['started_at']} is still under way"
            yield f"{name}: the full sync of {due.isoformat(timespec='seconds')} has not been started{under_way}"


def _polled(settings: Settings) -> bool:
    from config.settings import Trigger

    automatic = any(target.trigger(Trigger.AUTOMATIC) is not None for target in settings.targets.values())
    return automatic and settings.drupal.poll_seconds > 0


def wanted(document: Mapping[str, Any]) -> bool:
    """Whether anything in the document of `status` wants a person."""
    return bool(
        document["warnings"]
        or document["redis"]["warnings"]
        or document["workers"] == 0
        or document["source"]["health"] != "ok"
        or any(
            each["health"] != "ok" or each["failed"] or each["held"] for each in document["targets"].values()
        )
    )

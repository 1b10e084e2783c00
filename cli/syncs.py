"""`scimpipe sync`: the full sync of a target, with its dry run and its verification."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import typer

from cli.session import (
    DONE,
    NOT_FINISHED,
    SOME_FAILED,
    UNREACHABLE,
    CommandError,
    ConfigOption,
    JsonOption,
    Session,
    TargetArgument,
    TimeoutOption,
    opened,
)

POLL_SECONDS = 0.2


def sync(
    target: TargetArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what differs and would be put right; write nothing.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the target too: repair drift, hold orphans.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Find and enqueue, do not wait for the workers.")
    ] = False,
    timeout: TimeoutOption = 600,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Full sync: whatever differs is put right."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        if dry_run and verify:
            raise CommandError("--verify holds and repairs what it finds: leave out it or --dry-run")
        async with opened(session) as all_of_it:
            names = session.targets(target) if dry_run else syncable(session, target)
            runs = [
                await _dry_run(session, all_of_it, name)
                if dry_run
                else await sync_one(session, all_of_it, name, timeout, verify=verify, wait=not no_wait)
                for name in names
            ]
        documents = [document for document, _ in runs]
        session.output.document(documents[0] if len(documents) == 1 else documents)
        for document in documents:
            show_sync(session, document)
        return max(code for _, code in runs)

    session.run(body)


def syncable(session: Session, target: str | None = None) -> Sequence[str]:
    """The target, or all whose scheduled trigger is on. Raises CommandError where that is none."""
    from config.settings import Trigger

    names = session.targets(target)
    off = [name for name in names if session.settings.targets[name].trigger(Trigger.SCHEDULED) is None]
    if len(off) == len(names):
        raise CommandError(
            f"the scheduled trigger of {off[0]} is off; add [targets.{off[0]}.scheduled] with operations"
        )
    for name in off:
        session.output.note(f"{name}: its scheduled trigger is off, so it is left out")
    return [name for name in names if name not in off]


async def sync_one(
    session: Session, all_of_it: Any, name: str, timeout: float, *, verify: bool, wait: bool
) -> tuple[dict[str, Any], int]:
    from config.settings import Trigger
    from producers.sweep import look_again
    from producers.verify import Verification
    from state.processes import Processes

    settings, state = session.settings.targets[name], all_of_it.state(name)
    if wait and await Processes(all_of_it.redis).count("worker") == 0:
        raise CommandError(
            "no worker is running, so a full sync would wait in vain; start one with `scimpipe worker`, "
            "or use `scimpipe up --once`",
            NOT_FINISHED,
        )
    await look_again(all_of_it.sweeper(name))
    await state.hurry()
    verified: dict[str, Any] = {}
    doubted: list[str] = []
    if verify:
        target = all_of_it.target(name)
        check = Verification(
            settings,
            state,
            all_of_it.compiled[name],
            all_of_it.reader,
            all_of_it.same_site,
            target,
            await all_of_it.key(),
        )
        found = await check.run()
        doubted = [*found.drifted, *found.missing, *found.unlinked]
        verified = {
            "verified": {
                "accounts": found.accounts,
                "drifted": list(found.drifted),
                "missing": list(found.missing),
                "unlinked": list(found.unlinked),
                "orphans": found.orphans,
                "orphans_held": found.held,
                "rewritten": sorted(await state.rewritten.names()),
            }
        }
    sync_of_target = await all_of_it.full_sync(name)
    run_id, kind = await sync_of_target.start(Trigger.MANUAL.value)
    if kind != "new":
        # It may have compared them before.
        await state.submit(doubted, Trigger.SCHEDULED, run_id=run_id)
    if kind == "busy":
        session.output.note(f"{name}: a full sync is under way already ({run_id}); this is about that one")
        begun = await state.runs.get(run_id)
        if begun and begun.policy != all_of_it.compiled[name].policy_digest:
            session.output.note(
                f"{name}: that one compares by another config: start one more when it has ended"
            )
    else:
        async with _progress(session, state, run_id):
            await _scan(sync_of_target, run_id, kind)
    code = DONE
    if wait:
        code, run_id = await _wait(session, sync_of_target, run_id, timeout)
    run = await state.runs.get(run_id)
    if run is None:
        raise CommandError(
            f"{name}: Redis was emptied while the sync was under way; start it again", UNREACHABLE
        )
    document = {**run_document(name, run), **verified}
    if code == DONE and wait and document["outcome"] != "done":
        code = SOME_FAILED
    return document, code


async def _scan(sync_of_target: Any, run_id: str, kind: str) -> None:
    from state.runs import ScannerLostError

    # Where another process has taken it over it is that one's.
    with suppress(ScannerLostError):
        await sync_of_target.scan(run_id, kind)


async def _wait(session: Session, sync_of_target: Any, run_id: str, timeout: float) -> tuple[int, str]:
    """The exit code, and the run that it is about in the end."""
    import asyncio

    from config.settings import Trigger

    state = sync_of_target.state
    deadline = time.monotonic() + timeout
    async with _progress(session, state, run_id):
        while True:
            run = await state.runs.get(run_id)
            if run is None or run.finished_at is not None:
                return DONE, run_id
            health = await state.gate.health()
            if not health.open:
                session.output.note(
                    f"{state.target} is {health.state}: {health.reason}; the sync goes on afterwards, where workers run"
                )
                return (UNREACHABLE if health.state == "quarantined" else NOT_FINISHED), run_id
            if time.monotonic() > deadline:
                session.output.note(
                    f"not finished in the time given; workers that run go on with it: `scimpipe status {state.target}`"
                )
                return NOT_FINISHED, run_id
            if not run.scanned_all:
                # Whoever began it may have been killed.
                again, kind = await sync_of_target.start(Trigger.MANUAL.value)
                if kind != "busy":
                    run_id = again
                    await _scan(sync_of_target, run_id, kind)
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _progress(session: Session, state: Any, run_id: str) -> AsyncIterator[None]:
    """A progress line for a person at a terminal."""
    if session.output.as_json or not session.output.console.is_terminal:
        yield
        return
    import asyncio

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=session.output.console, transient=True) as progress:
        bar = progress.add_task(f"{state.target}: full sync", total=None)

        async def draw() -> None:
            while True:
                run = await state.runs.get(run_id)
                if run is not None:
                    total = max(run.counters["scanned"], run.waiting) or None
                    done = (total or 0) - run.waiting
                    words = f"{state.target}: " + ("working" if run.scanned_all else "comparing")
                    progress.update(bar, total=total, completed=done, description=words)
                await asyncio.sleep(POLL_SECONDS)

        drawing = asyncio.create_task(draw())
        try:
            yield
        finally:
            drawing.cancel()


def run_document(target: str, run: Any) -> dict[str, Any]:
    return {
        "target": target,
        "run_id": run.run_id,
        "outcome": run.outcome,
        **run.counters,
        "duration_seconds": run.duration_seconds,
        "pending": run.waiting,
        "error": run.error or None,
    }


def show_sync(session: Session, document: Mapping[str, Any]) -> None:
    shown = {name: value for name, value in document.items() if value not in (None, 0) or name == "scanned"}
    planned = shown.pop("planned", None)
    verified = shown.pop("verified", None)
    words = [
        f"{name} {value}" for name, value in shown.items() if name not in {"target", "run_id", "outcome"}
    ]
    session.output.say(f"{document['target']}: {document['outcome']}", "bold")
    session.output.say("  " + ", ".join(words))
    if verified:
        drifted, missing, unlinked = (len(verified[name]) for name in ("drifted", "missing", "unlinked"))
        session.output.say(
            f"  target has {verified['accounts']} accounts: {drifted} drifted, {missing} missing, "
            f"{unlinked} not linked to their user, "
            f"{verified['orphans']} orphans ({verified['orphans_held']} put on hold)"
        )
        if verified["rewritten"]:
            session.output.say(
                f"  not kept as sent by the target: {', '.join(verified['rewritten'])}", "yellow"
            )
    if planned is not None:
        rows = ((row["user"], row["operation"], row["changes"]) for row in planned)
        session.output.table(("user", "operation", "changes"), rows, "  nothing to do")
    if document.get("failed"):
        session.output.note("  some users failed: `scimpipe dead-letters list`")
    if document.get("held"):
        session.output.note("  some removals wait for you: `scimpipe held list`")


# Situations in which a person has to decide.
_REFUSED = {"ambiguous", "failed"}


async def _dry_run(session: Session, all_of_it: Any, name: str) -> tuple[dict[str, Any], int]:
    from config.settings import SWITCHABLE, OperationName, Trigger
    from producers.dry_run import plan_all
    from state.runs import COUNTERS

    started = time.monotonic()
    settings = session.settings.targets[name]
    scheduled = settings.trigger(Trigger.SCHEDULED) is not None
    off = SWITCHABLE - settings.operations(Trigger.SCHEDULED) if scheduled else frozenset()
    if not scheduled:
        session.output.note(f"{name}: its scheduled trigger is off, so no full sync does any of this")
    scanned, unchanged, planned = await plan_all(all_of_it, name)
    counters = dict.fromkeys(COUNTERS, 0) | {"scanned": scanned, "unchanged": unchanged}
    column = {"create": "created", "update": "updated", "deactivate": "deactivated", "delete": "deleted"}
    column = {**column, "link": "linked", "none": "unchanged"}
    removals = 0
    for each in planned:
        skipped = each.operation in off
        done = "skipped" if skipped else column[each.operation.value]
        counters["failed" if each.situation in _REFUSED else done] += 1
        removals += not skipped and each.operation in {OperationName.DEACTIVATE, OperationName.DELETE}
    for operation in sorted({each.operation for each in planned} & off):
        session.output.note(f"{name}: {operation} is switched off in targets.{name}.scheduled.operations")
    limit, words = await all_of_it.state(name).guard.budget()
    if removals > limit:
        session.output.note(f"{name}: the guard allows {words} removals; all {removals} would be held")
    rows = [
        {
            "user": each.user,
            "operation": each.operation.value,
            "changes": list(each.changes),
            "detail": each.detail,
        }
        for each in planned
        if each.operation.value != "none" or each.situation in _REFUSED
    ]
    document = {
        "target": name,
        "run_id": None,
        "outcome": "done",
        **counters,
        "requests": all_of_it.target(name).requests,
        "duration_seconds": round(time.monotonic() - started, 3),
        "planned": rows,
    }
    return document, DONE

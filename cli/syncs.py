"""Commands about a target as a whole: sync, status, history, pause, resume."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from cli.output import iso, local
from cli.session import (
    DONE,
    NOT_FINISHED,
    SOME_FAILED,
    UNREACHABLE,
    CommandError,
    ConfigOption,
    JsonOption,
    Session,
    TargetOption,
    TimeoutOption,
    opened,
)
from config.settings import OperationName, Trigger

POLL_SECONDS = 0.2
TargetArgument = Annotated[str | None, typer.Argument(help="A target; all when none is named.")]


def sync(
    target: TargetArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
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
        names = session.targets(target)
        async with opened(session) as all_of_it:
            runs = [
                await _dry_run(all_of_it, name)
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


async def sync_one(
    session: Session, all_of_it: Any, name: str, timeout: float, *, verify: bool, wait: bool
) -> tuple[dict[str, Any], int]:
    from producers.verify import Verification
    from state.processes import Processes

    settings, state = session.settings.targets[name], all_of_it.state(name)
    if settings.trigger(Trigger.SCHEDULED) is None:
        raise CommandError(
            f"the scheduled trigger of {name} is off; add [targets.{name}.scheduled] with operations"
        )
    if wait and await Processes(all_of_it.redis).count("worker") == 0:
        raise CommandError(
            "no worker is running, so a full sync would wait in vain; start one with `scimpipe worker`, "
            "or use `scimpipe up --once`",
            NOT_FINISHED,
        )
    verified: dict[str, Any] = {}
    if verify:
        target = all_of_it.target(name)
        check = Verification(
            settings, state, all_of_it.compiled[name], all_of_it.reader, target, await all_of_it.key()
        )
        found = await check.run()
        verified = {
            "verified": {
                "accounts": found.accounts,
                "drifted": list(found.drifted),
                "missing": list(found.missing),
                "orphans": found.orphans,
                "orphans_held": found.held,
                "rewritten": sorted(await state.rewritten.names()),
            }
        }
    sync_of_target = await all_of_it.full_sync(name)
    run_id, kind = await sync_of_target.start(Trigger.MANUAL.value)
    if kind == "busy":
        session.output.note(f"{name}: a full sync is under way already ({run_id}); this is about that one")
    else:
        async with _progress(session, state, run_id):
            await sync_of_target.scan(run_id, kind)
    code = await _wait(session, state, run_id, timeout) if wait else DONE
    run = await state.runs.get(run_id)
    document = {**run_document(name, run), **verified}
    if code == DONE and wait and document["outcome"] != "done":
        code = SOME_FAILED
    return document, code


async def _wait(session: Session, state: Any, run_id: str, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    async with _progress(session, state, run_id):
        while True:
            run = await state.runs.get(run_id)
            if run is None or run.finished_at is not None:
                return DONE
            health = await state.gate.health()
            if not health.open:
                session.output.note(
                    f"{state.target} is {health.state}: {health.reason}; the sync goes on afterwards"
                )
                return UNREACHABLE if health.state == "quarantined" else NOT_FINISHED
            if time.monotonic() > deadline:
                session.output.note(
                    f"not finished in the time given; it goes on by itself: `scimpipe status {state.target}`"
                )
                return NOT_FINISHED
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _progress(session: Session, state: Any, run_id: str) -> AsyncIterator[None]:
    """A progress line for a person at a terminal."""
    if session.output.as_json or not session.output.console.is_terminal:
        yield
        return
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
        drifted, missing = len(verified["drifted"]), len(verified["missing"])
        session.output.say(
            f"  target has {verified['accounts']} accounts: {drifted} drifted, {missing} missing, "
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


async def _dry_run(all_of_it: Any, name: str) -> tuple[dict[str, Any], int]:
    from producers.dry_run import plan_all
    from state.runs import COUNTERS

    started = time.monotonic()
    scanned, unchanged, planned = await plan_all(all_of_it, name)
    counters = dict.fromkeys(COUNTERS, 0) | {"scanned": scanned, "unchanged": unchanged}
    column = {"create": "created", "update": "updated", "deactivate": "deactivated", "delete": "deleted"}
    column = {**column, "link": "linked", "none": "unchanged"}
    for each in planned:
        counters["failed" if each.situation in _REFUSED else column[each.operation.value]] += 1
    rows = [
        {
            "user": each.user,
            "operation": each.operation.value,
            "changes": list(each.changes),
            "detail": each.detail,
        }
        for each in planned
        if each.operation is not OperationName.NONE or each.situation in _REFUSED
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


def status(target: TargetArgument = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """How things stand: health, counts, last and next full sync."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        from producers.schedule import next_run
        from state.connection import shown, warnings
        from state.processes import Processes

        now = dt.datetime.now(dt.UTC).astimezone()
        targets: dict[str, Any] = {}
        async with opened(session) as all_of_it:
            for name in session.targets(target):
                targets[name] = await _target_status(all_of_it.state(name))
                following = next_run(session.settings.targets[name], now)
                targets[name]["next_run"] = following.isoformat(timespec="seconds") if following else None
            processes = Processes(all_of_it.redis)
            alive = {kind: await processes.count(kind) for kind in ("worker", "scheduler", "changes")}
            source = await all_of_it.source_gate.health()
            redis = {
                "url": shown(session.settings.redis.url),
                "version": (await all_of_it.redis.info("server"))["redis_version"],
                "warnings": list(await warnings(all_of_it.redis, session.settings)),
            }
        document = {
            "targets": targets,
            "redis": redis,
            "workers": alive["worker"],
            "schedulers": alive["scheduler"],
            "changes": alive["changes"],
            "source": {"health": source.state, "reason": source.reason},
        }
        session.output.document(document)
        _show_status(session, document)
        return DONE

    session.run(body)


async def _target_status(state: Any) -> dict[str, Any]:
    health, counts, run = await state.gate.health(), await state.ledger.counts(), await state.runs.last()
    last = (
        run_document(state.target, run) | {"started_at": iso(run.started_at), "at": iso(run.finished_at)}
        if run
        else None
    )
    return {
        "health": health.state,
        "reason": health.reason,
        "since": iso(health.since),
        "linked": await state.links.count(),
        "pending": counts.pending,
        "running": counts.running,
        "failed": counts.failed,
        "held": counts.held,
        "last_run": last,
        "rewritten": sorted(await state.rewritten.names()),
    }


def _show_status(session: Session, document: Mapping[str, Any]) -> None:
    columns = ("health", "linked", "pending", "running", "failed", "held")
    rows = []
    for name, each in document["targets"].items():
        last = each["last_run"]
        words = f"{last['outcome']} {last['at'] or 'under way'}" if last else "never"
        rows.append((name, *(each[column] for column in columns), words, each["next_run"] or "off"))
    session.output.table(("target", *columns, "last full sync", "next"), rows)
    for name, each in document["targets"].items():
        if each["reason"]:
            session.output.say(f"{name}: {each['reason']}", "yellow")
    if document["source"]["health"] != "ok":
        session.output.say(f"Drupal cannot be read: {document['source']['reason']}", "red")
    session.output.say(
        f"workers {document['workers']}, schedulers {document['schedulers']}, change detection {document['changes']}, "
        f"Redis {document['redis']['version']}"
    )
    if document["workers"] == 0:
        session.output.say(
            "No worker is running; start one with `scimpipe worker` or everything with `scimpipe up`.",
            "yellow",
        )
    for warning in document["redis"]["warnings"]:
        session.output.say(f"Redis: {warning}", "yellow")


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
    limit: Annotated[int, typer.Option("--limit", help="The most entries.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing as things happen.")] = False,
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
        cells = _history_cells(_history_row(entry))
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
    when = local(dt.datetime.fromisoformat(row["at"]).timestamp())
    return [when, *(row[column] for column in _HISTORY_COLUMNS[1:])]


async def _wanted(
    all_of_it: Any,
    names: Sequence[str],
    user: str | None,
    operation: str | None,
    outcome: str | None,
    since: str | None,
) -> Any:
    from producers.submission import resolve
    from provisioning.model import OutcomeName
    from state.history import Wanted

    uuid = None
    if user is not None:
        states = [all_of_it.state(name) for name in names]
        # A user of the past may be in the history alone.
        uuid = (await resolve(all_of_it.reader, user, states)).uuid or user
    return Wanted(
        user=uuid,
        operation=_choice(OperationName, "--operation", operation),
        outcome=_choice(OutcomeName, "--outcome", outcome),
        since=_moment(since),
    )


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
        return time.time() - int(age.group(1)) * unit
    try:
        return dt.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise CommandError(
            f"--since {text}: write an age such as 30m, 12h or 7d, or a time such as 2026-11-23T08:00"
        ) from None


def pause(
    target: Annotated[str, typer.Argument()], as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Stop working on a target; what comes meanwhile waits."""
    _gate(Session(config, as_json=as_json), target, "pause")


def resume(
    target: Annotated[str, typer.Argument()], as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Work on a target again, after a pause or at once after a quarantine."""
    _gate(Session(config, as_json=as_json), target, "resume")


def _gate(session: Session, target: str, action: str) -> None:
    async def body() -> int:
        name = session.target(target)
        async with opened(session) as all_of_it:
            gate = all_of_it.state(name).gate
            changed = await getattr(gate, action)()
            if action == "resume":
                await all_of_it.source_gate.resume()
            health = await gate.health()
        session.output.document({"target": name, "health": health.state, "changed": changed})
        already = "" if changed else " already"
        session.output.say(f"{name} is {health.state}{already}")
        return DONE

    session.run(body)

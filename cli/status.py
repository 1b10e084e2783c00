"""Commands about how a target stands: status, pause, resume."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli import attention
from cli.output import iso, local
from cli.session import (
    DONE,
    SOME_FAILED,
    ConfigOption,
    JsonOption,
    Session,
    TargetArgument,
    opened,
)
from cli.syncs import run_document


def status(
    target: TargetArgument = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 where anything wants a person.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """How things stand: health, counts, last and next full sync."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        from producers.schedule import next_run
        from state.addresses import left_behind
        from state.connection import shown, warnings
        from state.polls import Polls
        from state.processes import Processes

        now = dt.datetime.now(dt.UTC).astimezone()
        targets: dict[str, Any] = {}
        async with opened(session) as all_of_it:
            for name in session.targets(target):
                targets[name] = await _target_status(all_of_it.state(name))
                following = next_run(session.settings.targets[name], now)
                targets[name]["next_run"] = following.isoformat(timespec="seconds") if following else None
            processes = Processes(all_of_it.redis)
            alive = {kind: await processes.alive(kind) for kind in ("worker", "scheduler", "changes")}
            polled = await Polls(all_of_it.redis).read()
            source = await all_of_it.source_gate.health()
            left = await left_behind(all_of_it.redis, session.settings)
            redis = {
                "url": shown(session.settings.redis.url),
                "version": (await all_of_it.redis.info("server"))["redis_version"],
                "warnings": list(await warnings(all_of_it.redis, session.settings)),
            }
        document = {
            "targets": targets,
            "redis": redis,
            "workers": len(alive["worker"]),
            "schedulers": len(alive["scheduler"]),
            "changes": len(alive["changes"]),
            "polled_at": iso(polled.at),
            "source": {"health": source.state, "reason": source.reason},
            "warnings": [
                *left.values(),
                *attention.of_processes(session.settings, alive, all_of_it.announced.config),
                *attention.of_polls(session.settings, polled, bool(alive["changes"])),
                *attention.of_full_syncs(session.settings, targets),
            ],
        }
        session.output.document(document)
        _show_status(session, document)
        return SOME_FAILED if strict and attention.wanted(document) else DONE

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
        "reason": health.reason or _wait(health.throttled_seconds),
        "throttled_seconds": round(health.throttled_seconds),
        "since": iso(health.since),
        "linked": await state.links.count(),
        "pending": counts.pending,
        "running": counts.running,
        "failed": counts.failed,
        "held": counts.held,
        "last_run": last,
        "rewritten": sorted(await state.rewritten.names()),
    }


def _wait(seconds: float) -> str:
    return f"the target has asked for a wait of {seconds:.0f} s more" if seconds >= 1 else ""


def _show_status(session: Session, document: Mapping[str, Any]) -> None:
    columns = ("health", "linked", "pending", "running", "failed", "held")
    rows = []
    for name, each in document["targets"].items():
        last = each["last_run"]
        words = f"{last['outcome']} {local(last['at']) or 'under way'}" if last else "never"
        rows.append((name, *(each[column] for column in columns), words, local(each["next_run"]) or "off"))
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
    for warning in document["warnings"]:
        session.output.say(warning, "yellow")


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
                # Each user who was told to wait has it noted as well.
                await all_of_it.state(name).hurry()
            health = await gate.health()
        session.output.document({"target": name, "health": health.state, "changed": changed})
        already = "" if changed else " already"
        # Whether it is well is not known before it has been asked.
        tried = ", and is tried from now on" if changed and health.open else ""
        session.output.say(f"{name} is {health.state}{already}{tried}")
        return DONE

    session.run(body)

"""`scimpipe provision`: the manual trigger, with its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

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
    TargetOption,
    TimeoutOption,
    opened,
)

if TYPE_CHECKING:
    from config.settings import OperationName


def provision(
    user: Annotated[list[str], typer.Argument(help="uid, uuid, name or mail; one or more")],
    target: TargetOption = None,
    operation: Annotated[
        list[str] | None,
        typer.Option("--operation", help="Only these operations; narrows the switches, never widens."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Enqueue and return.")] = False,
    timeout: TimeoutOption = 600,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Provision users now (manual trigger), wait, and say what happened to each."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        operations = _operations(operation)
        names = session.targets(target)
        async with opened(session) as all_of_it:
            rows, code = await _provision(all_of_it, names, user, operations, timeout, wait=not no_wait)
        session.output.document(rows)
        columns = ("user", "target", "operation", "outcome", "changes", "status_code", "detail")
        session.output.table(columns, ([row[key] for key in columns] for row in rows))
        return code

    session.run(body)


def _operations(words: Sequence[str] | None) -> frozenset[OperationName] | None:
    from config.problems import nearest
    from config.settings import SWITCHABLE, OperationName

    if not words:
        return None
    known = {operation.value for operation in SWITCHABLE}
    for word in words:
        if word not in known:
            raise CommandError(f"--operation {word}: there is no such operation; {nearest(word, known)}")
    return frozenset(map(OperationName, words))


async def _provision(
    all_of_it: Any,
    names: Sequence[str],
    words: Sequence[str],
    operations: frozenset[OperationName] | None,
    timeout: float,
    *,
    wait: bool,
) -> tuple[list[dict[str, Any]], int]:
    from producers.manual import submit
    from producers.submission import resolve
    from producers.sweep import look_again
    from state.processes import Processes

    states = [all_of_it.state(name) for name in names]
    resolved = [await resolve(all_of_it.reader, word, states) for word in words]
    unknown = [each for each in resolved if each.uuid is None]
    if unknown:
        raise CommandError("\n".join(f"{each.word}: {each.problem}" for each in unknown))
    if all(all_of_it.settings.targets[name].manual is None for name in names):
        raise CommandError(f"the manual trigger is off; add [targets.{names[0]}.manual] with operations")
    # Another site's users would be gone for the workers, and their accounts, of another scimpipe's, removed.
    await all_of_it.same_site.compare()
    users = list(dict.fromkeys(each.uuid for each in resolved if each.uuid))
    waiting = {name: await submit(all_of_it.state(name), users, operations) for name in names}
    if not wait:
        return [_pending(user, name, "enqueued") for name in names for user in users], DONE
    if await Processes(all_of_it.redis).count("worker") == 0:
        raise CommandError(
            "enqueued, but no worker is running: nothing will happen until you start one with `scimpipe worker` "
            "(or `scimpipe up`)",
            NOT_FINISHED,
        )
    rows: list[dict[str, Any]] = []
    code = DONE
    for name in names:
        await look_again(all_of_it.sweeper(name))
        more, worse = await _wait(all_of_it.state(name), waiting[name], timeout)
        rows += more
        code = max(code, worse)
    return rows, code


async def _wait(
    state: Any, generations: Mapping[str, int], timeout: float
) -> tuple[list[dict[str, Any]], int]:
    from producers.submission import TargetClosedError, WaitedTooLongError, wait_for

    code, why = DONE, ""
    try:
        results = await wait_for(state, generations, timeout)
    except WaitedTooLongError as late:
        results, code, why = (
            late.results,
            NOT_FINISHED,
            "not finished in the time given; it goes on by itself",
        )
    except TargetClosedError as closed:
        results, why = (
            closed.results,
            f"the target is {closed.state}: {closed.reason}; it goes on by itself afterwards",
        )
        code = UNREACHABLE if closed.state == "quarantined" else NOT_FINISHED
    rows = [
        result_row(results[user]) if user in results else _pending(user, state.target, why)
        for user in generations
    ]
    if code == DONE and any(row["outcome"] in {"failed", "held"} for row in rows):
        code = SOME_FAILED
    return rows, code


def result_row(result: Any) -> dict[str, Any]:
    return {
        "user": result.user,
        "target": result.target,
        "operation": result.operation.value,
        "outcome": result.outcome.value,
        "scim_id": result.scim_id,
        "changes": list(result.changes),
        "status_code": result.status_code,
        "detail": result.detail,
    }


def _pending(user: str, target: str, detail: str) -> dict[str, Any]:
    known = {"user": user, "target": target, "operation": "none", "outcome": "pending"}
    return {**known, "scim_id": None, "changes": [], "status_code": None, "detail": detail}

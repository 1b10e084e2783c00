"""Commands about users: users, preview, provision, remote, fields, attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.output import Output
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
from config.settings import OperationName


def users(
    text: Annotated[
        str, typer.Argument(help="Part of a name or mail, a uid or a uuid; empty lists the first 50.")
    ] = "",
    target: TargetOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Search Drupal users; shows each with its link and state."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        async with opened(session) as all_of_it:
            found = await all_of_it.reader.search(text)
            rows = []
            for name in session.targets(target):
                state = all_of_it.state(name)
                ids = [user.uuid for user in found]
                links, states = await state.links.get_many(ids), await state.ledger.states(ids)
                rows += [_user_row(user, name, links.get(user.uuid), states.get(user.uuid)) for user in found]
        session.output.document(rows)
        columns = ("uid", "name", "mail", "status", "target", "state", "scim_id", "user")
        session.output.table(
            columns, ([row[key] for key in columns] for row in rows), "no such user in Drupal"
        )
        return DONE

    session.run(body)


def _user_row(user: Any, target: str, link: Any, state: str | None) -> dict[str, Any]:
    linked = link is not None and link.has_account
    known = ("linked" if link.active else "deactivated") if linked else "not linked"
    return {
        "uid": user.uid,
        "user": user.uuid,
        "name": user.values.get("name"),
        "mail": user.values.get("mail"),
        "status": "active" if user.active else "blocked",
        "target": target,
        "state": state or known,
        "scim_id": link.scim_id if linked else None,
    }


def preview(
    user: Annotated[str, typer.Argument(help="uid, uuid, name or mail")],
    target: TargetOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Dry run of one user: what would be sent, and why. Writes nothing."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        import random

        from producers.submission import resolve
        from provisioning.ports import Ports
        from provisioning.preview import preview as dry_run
        from provisioning.reconcile import Reconciler

        name = session.target(target)
        async with opened(session) as all_of_it:
            state, settings = all_of_it.state(name), session.settings.targets[name]
            resolved = await resolve(all_of_it.reader, user, [state])
            if resolved.uuid is None:
                raise CommandError(f"{user}: {resolved.problem}")
            ports = Ports(
                all_of_it.reader,
                all_of_it.target(name),
                state.links,
                state.guard,
                state.rewritten,
            )
            compiled = all_of_it.compiled[name]
            reconciler = Reconciler(settings, compiled, await all_of_it.key(), ports, random.random)
            now = (await all_of_it.reader.read([resolved.uuid])).get(resolved.uuid)
            links = await state.links.get_many([resolved.uuid])
            result = await dry_run(reconciler, resolved.uuid, now, links.get(resolved.uuid))
        document = {
            "user": result.user,
            "target": name,
            "situation": result.situation,
            "operation": result.operation.value,
            "changes": list(result.changes),
            "resource": result.resource,
            "match": {"scim_id": result.match[0], "by": result.match[1]} if result.match else None,
            "detail": result.detail,
        }
        session.output.document(document)
        _show_preview(session.output, document)
        return DONE

    session.run(body)


def _show_preview(output: Output, document: Mapping[str, Any]) -> None:
    import json

    match = document["match"]
    output.say(f"{document['user']} on {document['target']}", "bold")
    output.say(f"  situation  {document['situation']}")
    output.say(f"  operation  {document['operation']}")
    if document["changes"]:
        output.say(f"  changes    {', '.join(document['changes'])}")
    output.say(f"  account    {match['scim_id'] + ' by ' + match['by'] if match else 'none found'}")
    if document["detail"]:
        output.say(f"  why        {document['detail']}")
    if document["resource"] is not None:
        output.say("  the whole account as mapped:")
        output.say(json.dumps(document["resource"], ensure_ascii=False, indent=2))


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
    from config.settings import SWITCHABLE

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
    from state.processes import Processes

    states = [all_of_it.state(name) for name in names]
    resolved = [await resolve(all_of_it.reader, word, states) for word in words]
    unknown = [each for each in resolved if each.uuid is None]
    if unknown:
        raise CommandError("\n".join(f"{each.word}: {each.problem}" for each in unknown))
    if all(all_of_it.settings.targets[name].manual is None for name in names):
        raise CommandError(f"the manual trigger is off; add [targets.{names[0]}.manual] with operations")
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


def remote(
    text: Annotated[
        str, typer.Argument(help="Part of a userName, displayName or mail; or an externalId.")
    ] = "",
    target: TargetOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Search the target's users, as its own Users tab would."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        name = session.target(target)
        async with opened(session) as all_of_it:
            accounts = await all_of_it.target(name).search(text)
        rows = [
            {
                "id": account.scim_id,
                "userName": account.resource.get("userName"),
                "externalId": account.external_id,
                "active": account.active,
                "displayName": account.resource.get("displayName"),
            }
            for account in accounts
        ]
        session.output.document(rows)
        session.output.table(
            tuple(rows[0]) if rows else (), (list(row.values()) for row in rows), "no such account"
        )
        return DONE

    session.run(body)


def fields(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """What a mapping can name on the Drupal side."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        async with opened(session) as all_of_it:
            found = await all_of_it.reader.fields()
        rows = [
            {"name": each.name, "multiple": each.multiple, "columns": list(each.columns)} for each in found
        ]
        session.output.document(rows)
        lines = ((row["name"], "several" if row["multiple"] else "one", row["columns"]) for row in rows)
        session.output.table(("name", "values", "parts"), lines)
        return DONE

    session.run(body)


def attributes(target: TargetOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """What a mapping can name on the target's side."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        name = session.target(target)
        async with opened(session) as all_of_it:
            schemas = await all_of_it.target(name).schemas()
        rows = [
            {
                "path": path,
                "type": each.type,
                "multiple": each.multi_valued,
                "mutability": each.mutability,
                "required": each.required,
            }
            for path, each in schemas.attributes()
        ]
        session.output.document(rows)
        if not schemas.from_target:
            session.output.say(
                "The target shows no schemas of its own; these are the RFC's (7643).", "yellow"
            )
        session.output.table(tuple(rows[0]) if rows else (), (list(row.values()) for row in rows))
        return DONE

    session.run(body)

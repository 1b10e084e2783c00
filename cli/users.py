"""Commands that look and change nothing: users, preview, remote, fields, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.output import Output, json_text
from cli.session import (
    DONE,
    CommandError,
    ConfigOption,
    JsonOption,
    OneTargetOption,
    Session,
    TargetOption,
    opened,
)


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
    target: OneTargetOption = None,
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
        output.block(json_text(document["resource"]))


def remote(
    text: Annotated[
        str, typer.Argument(help="Part of a userName, displayName or mail; or an externalId.")
    ] = "",
    target: OneTargetOption = None,
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


def attributes(
    target: OneTargetOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
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

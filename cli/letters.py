"""Commands about what waits for a person: dead letters, and held removals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.output import iso, local
from cli.session import (
    DONE,
    SOME_FAILED,
    CommandError,
    ConfigOption,
    JsonOption,
    Session,
    TargetOption,
    opened,
)

dead_letters = typer.Typer(no_args_is_help=True, help="Users whose provisioning failed for good.")
held = typer.Typer(
    no_args_is_help=True, help="Removals over the guard's budget, and orphans: approve or reject them."
)
Users = Annotated[list[str] | None, typer.Argument(metavar="USER...", help="uid, uuid, name or mail")]
StatusOption = Annotated[
    int | None, typer.Option("--status", help="Only those with this HTTP status of the target.")
]
# What is done to dead letters; all else to held removals.
_LETTERS = frozenset({"retry", "discard"})
All = Annotated[bool, typer.Option("--all", help="Every one of them.")]


@dead_letters.command("list")
def list_letters(
    target: TargetOption = None,
    status: StatusOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Every dead letter, oldest first."""
    _show(Session(config, as_json=as_json), target, None, status)


@dead_letters.command("show")
def show_letters(
    user: Annotated[list[str], typer.Argument(metavar="USER...")],
    target: TargetOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The dead letters of some users."""
    _show(Session(config, as_json=as_json), target, user)


def _show(
    session: Session, target: str | None, words: Sequence[str] | None, status: int | None = None
) -> None:
    async def body() -> int:
        async with opened(session) as all_of_it:
            rows: list[dict[str, Any]] = []
            for name in session.targets(target):
                letters = _with_status(await all_of_it.state(name).ledger.dead_letters(), status)
                if words:
                    chosen = await _chosen(all_of_it, name, words, [each.user for each in letters])
                    letters = [each for each in letters if each.user in chosen.values()]
                rows += map(_letter_row, letters)
            names = await _names(all_of_it, rows)
        session.output.document(rows)
        columns = ("user", "target", "operation", "attempts", "status_code", "detail")
        cells = (
            (names.get(row["user"]), *(row[column] for column in columns), local(row["last_failed_at"]))
            for row in rows
        )
        session.output.table(("name", *columns, "last failed"), cells, "no dead letters")
        return SOME_FAILED if words and not rows else DONE

    session.run(body)


def _with_status(letters: Sequence[Any], status: int | None) -> Sequence[Any]:
    return [each for each in letters if status in (None, each.status_code)]


def _letter_row(letter: Any) -> dict[str, Any]:
    times = {"first_failed_at": iso(letter.first_failed_at), "last_failed_at": iso(letter.last_failed_at)}
    return {**dataclasses.asdict(letter), "operation": letter.operation.value, **times}


@dead_letters.command("retry")
def retry_letters(
    user: Users = None,
    target: TargetOption = None,
    status: StatusOption = None,
    all_of_them: All = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try again; a dead letter goes when its user succeeds."""
    _act(Session(config, as_json=as_json), target, user, "retry", all_of_them=all_of_them, status=status)


@dead_letters.command("discard")
def discard_letters(
    user: Users = None,
    target: TargetOption = None,
    status: StatusOption = None,
    all_of_them: All = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take them off the list; the next full sync tries those users anyway."""
    _act(Session(config, as_json=as_json), target, user, "discard", all_of_them=all_of_them, status=status)


@held.command("list")
def list_held(target: TargetOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Who would be removed, and why it is held."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        async with opened(session) as all_of_it:
            entries = [
                each for name in session.targets(target) for each in await all_of_it.state(name).ledger.held()
            ]
            rows = [
                {**dataclasses.asdict(each), "operation": each.operation.value, "since": iso(each.since)}
                for each in entries
            ]
            names = await _names(all_of_it, rows)
        session.output.document(rows)
        columns = ("user", "target", "operation", "changes", "scim_id", "detail")
        cells = (
            (names.get(row["user"]), *(row[column] for column in columns), local(row["since"]))
            for row in rows
        )
        session.output.table(("name", *columns, "since"), cells, "nothing is held")
        return DONE

    session.run(body)


@held.command("approve")
def approve_held(
    user: Users = None,
    target: TargetOption = None,
    all_of_them: All = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let these removals happen: once, and exactly what was shown."""
    _act(Session(config, as_json=as_json), target, user, "approve", all_of_them=all_of_them)


@held.command("reject")
def reject_held(
    user: Users = None,
    target: TargetOption = None,
    all_of_them: All = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Keep these accounts: not asked about again unless the user leaves in another way, or comes back and leaves once more."""
    _act(Session(config, as_json=as_json), target, user, "reject", all_of_them=all_of_them)


def _act(
    session: Session,
    target: str | None,
    words: Sequence[str] | None,
    action: str,
    *,
    all_of_them: bool,
    status: int | None = None,
) -> None:
    async def body() -> int:
        if sum((bool(words), all_of_them, status is not None)) != 1:
            or_status = ", --status CODE" if action in _LETTERS else ""
            raise CommandError(f"say which users to {action}{or_status}, or --all")
        count, unlisted = 0, set(words or ())
        async with opened(session) as all_of_it:
            for name in session.targets(target):
                users = await _listed(all_of_it.state(name).ledger, action, status)
                if words:
                    chosen = await _chosen(all_of_it, name, words, users)
                    users = sorted({*chosen.values()})
                    unlisted -= chosen.keys()
                count += await _act_on(all_of_it.state(name), users, action)
        session.output.document({"action": action, "users": count})
        for word in sorted(unlisted):
            name = "dead-letters" if action in _LETTERS else "held"
            session.output.error(f"{word}: not on the list; `scimpipe {name} list` shows who is")
        done = {
            "retry": "queued again",
            "discard": "discarded",
            "approve": "approved and queued",
            "reject": "rejected",
        }
        session.output.say(f"{count} {done[action]}")
        return DONE if (count or all_of_them) and not unlisted else SOME_FAILED

    session.run(body)


async def _listed(ledger: Any, action: str, status: int | None) -> Sequence[str]:
    """The users on the list that an action is about."""
    letters = action in _LETTERS
    entries = _with_status(await ledger.dead_letters(), status) if letters else await ledger.held()
    return [each.user for each in entries]


async def _act_on(state: Any, users: Sequence[str], action: str) -> int:
    """Gives of how many users that was true."""
    if action in {"discard", "reject"}:
        return int(await getattr(state.ledger, action)(users))
    lanes = await getattr(state.ledger, action)(users)
    for lane, again in lanes.items():
        await state.send(again, lane)
    return sum(map(len, lanes.values()))


async def _chosen(
    all_of_it: Any, name: str, words: Sequence[str], listed: Sequence[str]
) -> Mapping[str, str]:
    """Word -> the user it means, of those listed; a uuid needs no Drupal."""
    from producers.submission import resolve

    chosen = {word: word for word in words if word in listed}
    for word in words:
        if word not in chosen:
            found = (await resolve(all_of_it.reader, word, [all_of_it.state(name)])).uuid
            if found is not None and found in listed:
                chosen[word] = found
    return chosen


async def _names(all_of_it: Any, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Names for people, asked of Drupal now (they are stored nowhere); none when it cannot be read."""
    from provisioning.errors import SourceUnreadable

    if not rows:
        return {}
    try:
        users = await all_of_it.reader.read(sorted({row["user"] for row in rows}))
    except SourceUnreadable:
        return {}
    return {uuid: user.values.get("name") for uuid, user in users.items()}

"""`scimpipe init`: writes a commented scimpipe.toml, asking when a person is there."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.session import DONE, CommandError, JsonOption, Session

if TYPE_CHECKING:
    from config.template import Answers


def init(
    file: Annotated[Path, typer.Argument(help="Where to write.")] = Path("scimpipe.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented scimpipe.toml; asks when a person is there."""
    session = Session(None, as_json=as_json)

    async def body() -> int:
        from config.template import Answers, render

        if file.exists() and not force:
            raise CommandError(f"{file} exists already; --force writes over it")
        answers = Answers()
        if sys.stdin.isatty() and not as_json:
            answers = _ask(answers)
        try:
            file.write_text(render(answers), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}") from None
        session.output.document({"file": str(file), "secrets": list(answers.variables)})
        session.output.say(f"Wrote {file}. Next:")
        for name in answers.variables:
            session.output.say(f"  export {name}=...")
        session.output.say("  scimpipe check")
        return DONE

    session.run(body)


def _ask(answers: Answers) -> Answers:
    # An event loop takes Ctrl-C for itself, and does not see it while somebody is asked.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind = typer.prompt("How is Drupal read? database or jsonapi", default=answers.kind)
    answers = replace(answers, kind="jsonapi" if kind.startswith("j") else "database")
    if answers.kind == "database":
        answers = replace(
            answers, database_url=typer.prompt("Database URL, without password", default=answers.database_url)
        )
    else:
        answers = replace(answers, site_url=typer.prompt("Address of the site", default=answers.site_url))
    target = typer.prompt("A short name for the target", default=answers.target)
    return replace(
        answers, target=target, base_url=typer.prompt("Its SCIM base URL", default=answers.base_url)
    )

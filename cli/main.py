"""The scimpipe command. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import checks, history, init, letters, provision, running, status, syncs, users
from cli.output import writing

VERSION = "0.1.0"

EXIT_CODES = (
    "Exit codes: 0 done; 1 some users failed or are held; 2 wrong usage or config; 3 Redis, Drupal or the target cannot be "
    "reached; 4 not finished in the time given, or nobody is there to do it."
)

app = typer.Typer(
    name="scimpipe",
    help="Keeps SCIM 2.0 service providers in step with the users of a Drupal site.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scimpipe {VERSION}")
        raise typer.Exit


@app.callback()
def scimpipe(
    version: Annotated[  # typer calls back when it is given
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The root of all commands."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the show instead of staying up.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """See it work: an embedded Drupal-shaped site, a real SCIM server, all three triggers."""
    from cli.demo.command import show

    show(once=once, as_json=as_json)


for command in (
    demo,
    init.init,
    checks.check,
    running.up,
    running.worker,
    running.scheduler,
    running.changes,
    users.users,
    users.preview,
    provision.provision,
    syncs.sync,
    status.status,
    history.history,
    status.pause,
    status.resume,
    users.remote,
    users.fields,
    users.attributes,
):
    app.command()(command)
app.add_typer(letters.dead_letters, name="dead-letters")
app.add_typer(letters.held, name="held")


def _open_closed_streams() -> None:
    """What goes to a stream that is closed (`>&-`) is not wanted. Left closed, its number would be the next file's, and what is
    printed would go there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # to the end


def main() -> None:
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Where a terminal's encoding lacks a character of somebody's name, that one is written out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            sys.stderr.write(f"an argument is no text in UTF-8: {argument!a}\n")
            sys.exit(2)
    # Commands tell of their own errors; what is left is typer printing help or the version.
    with writing():
        app()


if __name__ == "__main__":
    main()

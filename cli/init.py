"""`scimpipe init`: writes a commented scimpipe.toml, asking when a person is there."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.session import DONE, CommandError, JsonOption, Session

if TYPE_CHECKING:
    from cli.output import Output
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

        # Before anybody is asked, whose answers would be lost.
        with _written(file):
            _refuse(file, force=force)
        answers = Answers()
        if sys.stdin.isatty() and not as_json:
            answers = _ask(session.output, answers)
        with _written(file):
            _write(file, render(answers))
        session.output.document({"file": str(file), "secrets": list(answers.variables)})
        session.output.say(f"Wrote {file}. Next:")
        for name in answers.variables:
            session.output.say(f"  export {name}=...")
        session.output.say("  scimpipe check")
        return DONE

    session.run(body)


# -- the file -------------------------------------------------------------------------------------------------------


@contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}; name another place") from None


def _refuse(file: Path, *, force: bool) -> None:
    """Raises CommandError or OSError where the file must not or cannot be written."""
    if file.exists() and not file.is_file():
        raise CommandError(f"{file} is no file; name one, such as scimpipe.toml")
    if file.exists() and not force:
        raise CommandError(f"{file} exists already; --force writes over it")
    folder = file.resolve().parent
    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}; make it first, or name another place")
    # No look at its rights knows of all that can be in the way.
    begun = _begun(folder)
    begun.touch(exist_ok=False)
    begun.unlink()


def _begun(folder: Path) -> Path:
    """A name that nobody has."""
    import secrets

    return folder / f".scimpipe-init-{secrets.token_hex(4)}"


def _write(file: Path, text: str) -> None:
    """Whole or not at all: on a full disk the file that was there stays."""
    # Where it is a link, what it leads to.
    place = file.resolve()
    begun = _begun(place.parent)
    try:
        with begun.open("x", encoding="utf-8") as opened:
            opened.write(text)
        if place.exists():
            shutil.copymode(place, begun)
        begun.replace(place)
    finally:
        begun.unlink(missing_ok=True)


# -- the questions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """field: of Answers. key: in the file that is written, {target} being the target's name. instead: what to write
    where the rules of the file refuse the answer.
    """

    words: str
    field: str
    key: str
    instead: str


_DATABASE = _Question(
    "Database URL, without password",
    "database_url",
    "drupal.url",
    "write mysql+pymysql://account@host/site, postgresql+psycopg://account@host/site or sqlite:///path; a password goes "
    "into the environment variable DRUPAL_DB_PASSWORD, which the file refers to",
)
_SITE = _Question(
    "Address of the site",
    "site_url",
    "drupal.base_url",
    "write https://host; the account goes into the file afterwards, and so does allow_insecure = true, for http://",
)
_TARGET = (
    _Question(
        "A short name for the target",
        "target",
        "targets.{target}",
        "use a-z, 0-9, - and _, such as miniorange",
    ),
    _Question(
        "Its SCIM base URL",
        "base_url",
        "targets.{target}.base_url",
        "write https://host/path; allow_insecure = true, for http://, goes into the file afterwards",
    ),
)
_KINDS = ("database", "jsonapi")


def _ask(output: Output, answers: Answers) -> Answers:
    # An event loop takes Ctrl-C for itself, and does not see it while somebody is asked.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answers = replace(answers, kind=_kind(output, answers.kind))
        for question in (_DATABASE if answers.kind == "database" else _SITE, *_TARGET):
            answers = _answered(output, question, answers)
    except (KeyboardInterrupt, typer.Abort):
        # The question's line has not ended.
        output.block("\nnothing was written")
        raise
    return answers


def _kind(output: Output, default: str) -> str:
    while True:
        said = typer.prompt("How is Drupal read? database or jsonapi", default=default)
        plain = "".join(filter(str.isalnum, said)).lower()
        meant = [kind for kind in _KINDS if plain and kind.startswith(plain)]
        if meant:
            return meant[0]
        output.say(f"  that is neither; write {_KINDS[0]} or {_KINDS[1]}", "yellow")


def _answered(output: Output, question: _Question, answers: Answers) -> Answers:
    """Asks until the answer is one that the file can hold."""
    while True:
        said = typer.prompt(question.words, default=getattr(answers, question.field)).strip()
        given = replace(answers, **{question.field: said})
        refused = _refused(question, given)
        if not refused:
            return given
        output.say(f"  {refused[0]}; {question.instead}", "yellow")


def _refused(question: _Question, answers: Answers) -> Sequence[str]:
    """What `check` would say of the answer."""
    import tomllib

    from config.rules import rule_problems
    from config.template import render
    from config.text import printable

    said = getattr(answers, question.field)
    if printable(said) != said:
        return ["holds characters that nobody sees"]
    key = question.key.format(target=answers.target)
    return [each.what for each in rule_problems("", tomllib.loads(render(answers))) if each.key == key]

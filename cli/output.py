"""What a command prints: tables and sentences for people, one JSON document for scripts (and lines after it, where more
follows).
"""

from __future__ import annotations

import datetime as dt
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from config.text import printable

if TYPE_CHECKING:
    # Loading it takes time that `--help` does not have.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Of a uuid: no word of a table that is so long or shorter is broken.
WHOLE = 36
_COLOURS = {
    "done": "green", "ok": "green", "unchanged": "dim", "skipped": "dim", "failed": "red", "held": "yellow",
    "pending": "yellow", "quarantined": "red", "paused": "yellow", "running": "cyan", "create": "green", "delete": "red",
}  # fmt: skip


class Output:
    """as_json: only `document` prints to stdout, once, and `line` after it."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._printed = False

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        # A table is not cut at 80 columns because it goes into a file.
        return Console(width=None if sys.stdout.isatty() else 200, highlight=False)

    @cached_property
    def errors(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    def document(self, value: Any) -> None:
        if self.as_json:
            self._write(value, 2)
            self._printed = True

    def line(self, value: Any) -> None:
        """One more thing, in one line."""
        if self.as_json:
            self._write(value, None)

    def _write(self, value: Any, indent: int | None) -> None:
        with writing():
            # RFC 8259, 8.1: UTF-8, whatever the terminal's encoding; ASCII is both.
            text = json_text(value, plain=sys.stdout.encoding.lower() != "utf-8", indent=indent)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def say(self, text: str, style: str = "") -> None:
        """One line, whatever a name in it holds."""
        if not self.as_json:
            self._print(_text(printable(text), style))

    def block(self, text: str, style: str = "") -> None:
        """Several lines; every line break is ours."""
        if not self.as_json:
            self._print(_text(printable_lines(text), style))

    def note(self, text: str) -> None:
        """One line for people, on stderr, also with --json."""
        self.errors.print(_text(printable(text), "yellow"))

    def error(self, text: str) -> None:
        """On stderr; with --json also as a document. Every line break is ours."""
        self.errors.print(_text(printable_lines(text), "red"))
        if self.as_json and not self._printed:
            self.document({"error": text})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "none") -> None:
        """At a terminal too narrow for their words side by side, each row is one of several lines."""
        if self.as_json:
            return
        names = [_text(column) for column in columns]
        cells = [[_cell(value) for value in row] for row in rows]
        fits = _narrowest([names, *cells]) <= self.console.width
        if not cells:
            self._print(_text(empty, "dim"))
        elif fits or not self.console.is_terminal:
            self._print(_table(names, cells, whole_words=fits))
        else:
            for row in cells:
                self._print(_record(names, row))
                self.say("")

    def _print(self, what: Table | Text) -> None:
        with writing():
            self.console.print(what)


@contextmanager
def writing() -> Iterator[None]:
    """Ends the command where stdout takes no more: `| head` has gone, which is as it should be, or a disk is full."""
    try:
        yield
    except OSError as error:
        # What is left in its buffer is written at the end, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"what this prints cannot be written: {error.strerror}\n")
        raise SystemExit(1) from None


def _table(names: Sequence[Text], rows: Sequence[Sequence[Text]], *, whole_words: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in zip(names, *rows, strict=True):
        # Columns of several words get narrower first.
        one_word = all(text.cell_len <= WHOLE and " " not in text.plain for text in column)
        table.add_column(column[0], overflow="fold", no_wrap=whole_words and one_word)
    for row in rows:
        table.add_row(*row)
    return table


def _record(names: Sequence[Text], row: Sequence[Text]) -> Table:
    """A row as lines of name and value, without those that have none."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        if cell.plain:
            table.add_row(name, cell)
    return table


def _narrowest(rows: Sequence[Sequence[Text]]) -> int:
    """Columns at a terminal that they take at least, with two between them."""
    from rich.cells import cell_len

    longest = [
        max((cell_len(word) for text in column for word in text.plain.split()), default=0)
        for column in zip(*rows, strict=True)
    ]
    return sum(min(each, WHOLE) for each in longest) + 2 * (len(longest) - 1)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _cell(value: Any) -> Text:
    if value is None:
        return _text("")
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = printable(str(value))
    return _text(text, _COLOURS.get(text, ""))


def json_text(value: Any, *, plain: bool = False, indent: int | None = 2) -> str:
    """JSON that any parser reads and no terminal obeys: control and direction characters can stand in strings alone,
    where the form `printable` gives them means the same. plain: in ASCII.
    """
    import json

    try:
        text = json.dumps(value, ensure_ascii=plain, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=plain, indent=indent)
    return printable_lines(text)


def _finite(value: Any) -> Any:
    """NaN and infinity, which a target may send though JSON has neither, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def printable_lines(text: str) -> str:
    """Line breaks are ours, every other control character is somebody else's."""
    return "\n".join(printable(line) for line in text.split("\n"))


def iso(seconds: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC."""
    return (
        None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
    )


def local(moment: str | None) -> str | None:
    """ISO 8601 as a person reads it, by this machine's clock."""
    return moment and dt.datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")

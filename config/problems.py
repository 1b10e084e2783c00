"""What is wrong with a configuration: every problem at once, each with file, key and what to write."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from config.text import printable


@dataclass(frozen=True, slots=True)
class Problem:
    """key: dotted, as in the file; empty for the file as a whole."""

    file: str
    key: str
    what: str
    write: str

    def __str__(self) -> str:
        # Keys are whatever the file holds: one problem stays one line, and no terminal obeys it.
        where = f"{self.file}: {self.key}" if self.key else self.file
        return printable(f"{where}: {self.what}" + (f"; {self.write}" if self.write else ""))


class ConfigError(Exception):
    """A configuration that cannot be used. Its text is a line for each problem and holds no secret."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(name: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"

"""Overrides from the environment: SCIMPIPE__REDIS__URL=... sets redis.url (DESIGN 5.1)."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from config.problems import Problem

PREFIX = "SCIMPIPE__"


@dataclass(frozen=True, slots=True)
class Overrides:
    """variables: dotted key -> the variable that set it. begun: section that the file does not have -> the first variable
    in it. problems: variables that could not be used.
    """

    variables: dict[str, str] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, problem: Problem) -> Problem:
        """A mistake in a variable is told with the variable's name, not with the file's alone."""
        return replace(problem, file=self._place(problem))

    def _place(self, problem: Problem) -> str:
        if key := _innermost_around(problem.key, self.variables):
            return f"environment variable {self.variables[key]}"
        if within := self._within(problem):
            return f"{problem.file} with environment variable {' and '.join(within)}"
        if section := _innermost_around(problem.key, self.begun):
            return f"environment variable {self.begun[section]} ({problem.file} has no {section})"
        return problem.file

    def _within(self, problem: Problem) -> list[str]:
        """Of a whole section's problem, the variables in it: those that set what it speaks of, such as env and file."""
        above = f"{problem.key}."
        spoken_of = re.findall(r"\w+", f"{problem.what} {problem.write}")
        return [
            variable
            for key, variable in self.variables.items()
            if key.startswith(above) and key.removeprefix(above).partition(".")[0] in spoken_of
        ]


def _innermost_around(key: str, known: Iterable[str]) -> str:
    """Itself, or the longest that it is below; empty where there is none."""
    return max((each for each in known if f"{key}.".startswith(f"{each}.")), key=len, default="")


def override(document: dict[str, Any], environ: Mapping[str, str]) -> Overrides:
    """Writes the variables' values into the document."""
    overrides = Overrides()
    # Sorted, so that SCIMPIPE__REDIS comes before SCIMPIPE__REDIS__URL, whatever the environment's order.
    for name, text in sorted(environ.items()):
        if name.upper().startswith(PREFIX):
            _set(document, name, text, overrides)
    return overrides


def _set(document: dict[str, Any], variable: str, text: str, overrides: Overrides) -> None:
    *sections, last = variable[len(PREFIX) :].split("__")
    holder: dict[str, Any] = document
    keys: list[str] = []
    for section in sections:
        keys.append(_spelled(section, holder, keys))
        if keys[-1] not in holder:
            overrides.begun[".".join(keys)] = variable
        holder = holder.setdefault(keys[-1], {})
        if not isinstance(holder, dict):
            # Replacing it would hide what the file says there, a secret perhaps.
            where, hint = ".".join(keys), "make it a table there, or take it out"
            overrides.problems.append(
                Problem(f"environment variable {variable}", where, "is no table in the file", hint)
            )
            return
    keys.append(_spelled(last, holder, keys))
    holder[keys[-1]] = _literal(text)
    overrides.variables[".".join(keys)] = variable


def _spelled(name: str, holder: Mapping[str, Any], above: list[str]) -> str:
    """As the file spells the key. Shells allow no hyphen in a name, so an underscore finds one, too."""
    if name in holder:
        return name
    for plain in (str.lower, lambda key: key.lower().replace("-", "_")):
        found = next((key for key in holder if plain(key) == plain(name)), None)
        if found is not None:
            return found
    in_mapping = len(above) == 3 and above[0] == "targets" and above[2] == "mapping"
    return name if in_mapping else name.lower()  # only SCIM attributes have capitals


def _literal(text: str) -> Any:
    """A TOML value or a JSON object where it is one, else the text as it stands."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return _json_object(text)
    # A line break in the text could have begun another key.
    if list(document) != ["value"] or isinstance(document["value"], (dt.date, dt.time)):
        return text
    return document["value"]


def _json_object(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text

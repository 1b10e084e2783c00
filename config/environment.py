"""Overrides from the environment: SCIMPIPE__REDIS__URL=... sets redis.url (DESIGN 5.1)."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.problems import Problem

PREFIX = "SCIMPIPE__"


@dataclass(frozen=True, slots=True)
class Overrides:
    """variables: dotted key -> the variable that set it. problems: variables that could not be used."""

    variables: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, problem: Problem) -> Problem:
        """A mistake in a variable is told with the variable's name, not with the file's."""
        keys = [key for key in self.variables if f"{problem.key}.".startswith(f"{key}.")]
        if not keys:
            return problem
        variable = self.variables[max(keys, key=len)]
        return Problem(f"environment variable {variable}", problem.key, problem.what, problem.write)


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

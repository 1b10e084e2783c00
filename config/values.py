"""A value of the wrong type, out of range or missing, in a person's words. No value is echoed but a wrong choice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from config.problems import Problem
from config.rules import REFERENCE_HINT, SECRET_KEYS

_WORDS = {
    "dict_type": "is not a table",
    "mapping_type": "is not a table",
    "model_type": "is not a table",
    "model_attributes_type": "is not a table",
    "frozen_set_type": "is not a list",
    "tuple_type": "is not a list",
    "string_type": "is not text",
    "string_unicode": "is not text",
    "path_type": "is not a path",
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
}
_EXAMPLES = {
    "redis.url": 'write url = "embedded", or redis://, rediss:// or unix:// ...',
    "drupal": "write [drupal] with a url, or run `scimpipe init`",
    "drupal.url": 'write url = "mysql+pymysql://drupal@db/site"',
    "drupal.base_url": 'write base_url = "https://www.example.org"',
    "targets": "write [targets.NAME] with base_url, token and mapping",
    "targets.*": "write [targets.NAME] with base_url, token and mapping",
    "targets.*.base_url": 'write base_url = "https://acme.example/scim/v2"',
    "targets.*.mapping": 'write [targets.NAME.mapping] with at least userName = "name"',
    "targets.*.matching": 'write matching = ["externalId", "userName"]',
    "targets.*.scheduled.cron": 'write cron = "*/30 * * * *"',
}
_BY_TYPE = {
    "is not a table": "write it as a [section], or as { key = value }",
    "is not a list": 'write a list, ["create", "update"]',
    "is not text": "write it in quotes",
    "is not a path": "write it in quotes",
    "is neither true nor false": "write true or false, without quotes",
}
_CHOICES = {"literal_error", "enum"}
# A choice somebody got wrong looks like a word; anything else is not repeated.
_WORD = re.compile(r"[\w-]{1,20}")


def value_problem(file: str, detail: ErrorDetails, document: Mapping[str, Any]) -> Problem:
    """detail: one of pydantic's, made without its input."""
    parts = _parts(detail["loc"])
    key = ".".join(map(str, parts))
    kind = detail["type"]
    if kind.startswith("union_tag"):
        return Problem(file, "drupal.kind", "is not a way to read Drupal", 'write "database" or "jsonapi"')
    if kind == "extra_forbidden":
        return Problem(file, key, "unknown key", "see docs/configuration.md")
    if kind == "missing":
        return Problem(file, key, "is missing", _example(parts, "see scimpipe.example.toml"))
    if kind in _CHOICES:
        expected = detail.get("ctx", {}).get("expected")
        return Problem(
            file, key, f"{_echo(document, parts)}is not one of the values here", f"write {expected}"
        )
    if parts and parts[-1] in SECRET_KEYS and "mapping" not in parts:
        return Problem(file, key, "is not a reference to a secret", REFERENCE_HINT)
    if len(parts) == 4 and parts[2] == "mapping":
        return Problem(file, key, "is not an expression", 'write it in quotes, such as "mail | lower"')
    what = _WORDS.get(kind) or _lowered(detail["msg"])
    return Problem(file, key, what, _example(parts, _BY_TYPE.get(what, "write a number, without quotes")))


def _parts(place: Sequence[int | str]) -> list[int | str]:
    """Keys as in the file: pydantic names the kind of reader behind `drupal`."""
    parts = list(place)
    if len(parts) > 1 and parts[0] == "drupal" and parts[1] in {"database", "jsonapi"}:
        del parts[1]
    return parts


def _example(parts: Sequence[int | str], otherwise: str) -> str:
    names = [str(part) for part in parts]
    if len(names) > 1 and names[0] == "targets":
        names[1] = "*"
    return _EXAMPLES.get(".".join(names), otherwise)


def _echo(document: Any, parts: Sequence[int | str]) -> str:
    value = document
    for part in parts:
        if not isinstance(value, dict):
            return ""
        value = value.get(part)
    return f"'{value}' " if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _lowered(message: str) -> str:
    return (message[:1].lower() + message[1:]).replace("input should be", "should be")

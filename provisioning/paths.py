"""SCIM attribute paths as a mapping writes them (RFC 7644 3.10 and the value paths of 3.5.2).

    userName                                   a single value
    name.givenName                             part of a complex value
    emails[type eq "work"].value               part of one element of a list
    urn:...:enterprise:2.0:User:department     an attribute of an extension

Attribute names are compared without regard to case (RFC 7643 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from provisioning.model import JsonValue

CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"

_NAME = r"[A-Za-z$][\w$-]*"
_COMPARISON = re.compile(rf'\s*({_NAME})\s+eq\s+("(?:[^"\\]|\\.)*"|true|false|-?\d+)\s*', re.IGNORECASE)
_PATH = re.compile(rf"({_NAME})(?:\[(.*)\])?(?:\.({_NAME}))?")
_URN = re.compile(r"(urn:[^\[\]\s]+):([^:\[\]]+(?:\[.*\])?(?:\.[\w$-]+)?)", re.IGNORECASE)


class PathError(ValueError):
    """A path that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Path:
    """schema: the extension's URN, None for the core schema. filters: equalities an element has to satisfy."""

    schema: str | None
    attribute: str
    filters: tuple[tuple[str, Any], ...] = ()
    sub: str | None = None

    def __str__(self) -> str:
        prefix = f"{self.schema}:" if self.schema else ""
        suffix = f".{self.sub}" if self.sub else ""
        return f"{prefix}{self.attribute}{self.filter_text}{suffix}"

    @property
    def filter_text(self) -> str:
        if not self.filters:
            return ""
        return "[" + " and ".join(f"{name} eq {_literal(value)}" for name, value in self.filters) + "]"

    @property
    def whole(self) -> Path:
        """The attribute that this is a part or an element of."""
        return Path(self.schema, self.attribute)

    @property
    def element(self) -> Path:
        """The path without its last part: the element or the complex value it lives in."""
        return Path(self.schema, self.attribute, self.filters)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@lru_cache(maxsize=1024)
def parse(text: str) -> Path:
    """Raises PathError."""
    schema, rest = None, text.strip()
    if rest.lower().startswith("urn:"):
        matched = _URN.fullmatch(rest)
        if not matched:
            raise PathError(f"'{text}': after the schema's URN, a colon and an attribute are expected")
        schema, rest = matched.group(1), matched.group(2)
        if schema.lower() == CORE_USER.lower():
            schema = None
    found = _PATH.fullmatch(rest)
    if not found:
        raise PathError(
            f"""'{text}' is not a SCIM path; write it like name.givenName or emails[type eq "work"].value"""
        )
    attribute, conditions, sub = found.groups()
    return Path(schema, attribute, _filters(text, conditions), sub)


def _filters(text: str, conditions: str | None) -> tuple[tuple[str, Any], ...]:
    if conditions is None:
        return ()
    filters: list[tuple[str, Any]] = []
    position = 0
    while True:
        found = _COMPARISON.match(conditions, position)
        if not found:
            raise PathError(
                f"""'{text}': in [ ] only comparisons like type eq "work" are understood, joined by and"""
            )
        filters.append((found.group(1), _value_of(found.group(2))))
        position = found.end()
        if position == len(conditions):
            return tuple(filters)
        if conditions[position : position + 4].lower() != "and ":
            raise PathError(f"'{text}': comparisons in [ ] are joined by and")
        position += 4


def _value_of(literal: str) -> Any:
    if literal.startswith('"'):
        return re.sub(r"\\(.)", r"\1", literal[1:-1])
    if literal.lower() in {"true", "false"}:
        return literal.lower() == "true"
    return int(literal)


def member(resource: Mapping[str, Any], name: str) -> str | None:
    """The key of a JSON object that spells this attribute, whatever its case."""
    if name in resource:
        return name
    lowered, length = name.lower(), len(name)
    for key in resource:
        if len(key) == length and key.lower() == lowered:
            return key
    return None


def get(resource: Mapping[str, Any], name: str) -> JsonValue:
    key = member(resource, name)
    return None if key is None else resource[key]


def satisfies(element: JsonValue, filters: tuple[tuple[str, Any], ...]) -> bool:
    """Whether an element of a list meets all equalities; text without regard to case, booleans also as text."""
    if not isinstance(element, dict):
        return False
    return all(_same(get(element, name), value) for name, value in filters)


def meant(value: JsonValue, filters: tuple[tuple[str, Any], ...]) -> list[dict[str, Any]]:
    """The elements that meet all equalities. Some servers lose `type`: the only element that there is then is the one."""
    elements = value if isinstance(value, list) else [value]
    objects = [element for element in elements if isinstance(element, dict)]
    found = [element for element in objects if satisfies(element, filters)]
    if found or len(objects) != 1 or member(objects[0], "type") is not None:
        return found
    return objects if all(name.lower() == "type" for name, _ in filters) else []


def _same(actual: Any, wanted: Any) -> bool:
    return actual is not None and str(actual).lower() == str(wanted).lower()


def value_at(resource: Mapping[str, Any], path: Path) -> JsonValue:
    """The value at a path, None where there is none. Tolerant: a single object where a list was meant is read too."""
    holder = get(resource, path.schema) if path.schema else resource
    if not isinstance(holder, dict):
        return None
    value = get(holder, path.attribute)
    if path.filters:
        value = next(iter(meant(value, path.filters)), None)
    if path.sub is None:
        return value
    if isinstance(value, list):
        return [get(element, path.sub) for element in value if isinstance(element, dict)]
    return get(value, path.sub) if isinstance(value, dict) else None


def set_value(resource: MutableMapping[str, Any], path: Path, value: JsonValue) -> None:
    """Puts a value at a path of a JSON object that the caller owns, making what has to be around it."""
    holder = _child(resource, path.schema) if path.schema else resource
    if path.filters:
        target: MutableMapping[str, Any] = _element(holder, path)
    elif path.sub is not None:
        target = _child(holder, path.attribute)
    else:
        holder[member(holder, path.attribute) or path.attribute] = value
        return
    if path.sub is None:
        target.update(value if isinstance(value, dict) else {"value": value})
        return
    target[member(target, path.sub) or path.sub] = value


def _child(holder: MutableMapping[str, Any], name: str) -> MutableMapping[str, Any]:
    key = member(holder, name) or name
    if not isinstance(holder.get(key), dict):
        # Some servers show a complex value as its bare value: manager as "42".
        holder[key] = {} if holder.get(key) is None else {"value": holder[key]}
    child: MutableMapping[str, Any] = holder[key]
    return child


def _element(holder: MutableMapping[str, Any], path: Path) -> MutableMapping[str, Any]:
    key = member(holder, path.attribute) or path.attribute
    elements = holder.get(key)
    if not isinstance(elements, list):
        elements = [elements] if isinstance(elements, dict) else []
    holder[key] = elements
    if found := meant(elements, path.filters):
        return found[0]
    made = dict(path.filters)
    elements.append(made)
    return made


def remove_value(resource: MutableMapping[str, Any], path: Path) -> None:
    """Takes a value away, and the element, complex value or extension that has nothing left but its filters."""
    holder = resource
    if path.schema:
        key = member(resource, path.schema)
        if key is None or not isinstance(resource[key], dict):
            return
        holder = resource[key]
    _remove_from(holder, path)
    if path.schema and not holder:
        del resource[member(resource, path.schema) or path.schema]


def _remove_from(holder: MutableMapping[str, Any], path: Path) -> None:
    key = member(holder, path.attribute)
    if key is None:
        return
    value = holder[key]
    if path.filters and isinstance(value, list):
        found = list(map(id, meant(value, path.filters)))
        kept = (_without(element, path) if id(element) in found else element for element in value)
        holder[key] = [element for element in kept if element is not None]
    elif path.sub is not None and isinstance(value, dict):
        value.pop(member(value, path.sub) or path.sub, None)
    else:
        del holder[key]
        return
    if not holder[key]:
        del holder[key]


def _without(element: JsonValue, path: Path) -> JsonValue:
    if path.sub is None or not isinstance(element, dict):
        return None
    rest = {key: value for key, value in element.items() if key.lower() != path.sub.lower()}
    names = {name.lower() for name, _ in path.filters}
    return rest if {key.lower() for key in rest} - names - {"primary"} else None

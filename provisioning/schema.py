"""Checking a mapping against both sides: the fields Drupal has and the attributes the target has (RFC 7643 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from provisioning.mapping import BASE_NAMES, CompiledTarget, Entry, MappingProblem, nearest
from provisioning.model import FieldInfo
from provisioning.paths import CORE_USER
from provisioning.values import ENTERPRISE_USER

# Common attributes of every resource, in no schema (RFC 7643 3.1).
_COMMON = ("externalId",)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute's definition (RFC 7643 7). unique: the target refuses a second resource with the same value.
    sub_attributes: of a complex one.
    """

    name: str
    type: str = "string"
    multi_valued: bool = False
    mutability: str = "readWrite"
    required: bool = False
    unique: bool = False
    sub_attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True)
class UserSchemas:
    """The schemas of a User: URN -> attributes. from_target: read from its /Schemas, not the RFC's."""

    schemas: Mapping[str, tuple[Attribute, ...]]
    from_target: bool

    def attributes(self) -> Iterator[tuple[str, Attribute]]:
        """(path, definition) of everything a mapping can name."""
        for urn, attributes in self.schemas.items():
            prefix = "" if urn.lower() == CORE_USER.lower() else f"{urn}:"
            for attribute in attributes:
                yield f"{prefix}{attribute.name}", attribute
                for sub in attribute.sub_attributes:
                    yield f"{prefix}{attribute.name}.{sub.name}", sub


def read_schema(schema: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """The attributes of a schema as JSON, tolerantly."""
    return tuple(_attribute(each) for each in schema.get("attributes") or () if isinstance(each, Mapping))


def _attribute(definition: Mapping[str, Any]) -> Attribute:
    subs = definition.get("subAttributes") or ()
    return Attribute(
        name=str(definition.get("name", "")),
        type=str(definition.get("type", "string")),
        multi_valued=definition.get("multiValued") is True,
        mutability=str(definition.get("mutability", "readWrite")),
        required=definition.get("required") is True,
        unique=definition.get("uniqueness") in {"server", "global"},
        sub_attributes=tuple(_attribute(sub) for sub in subs if isinstance(sub, Mapping)),
    )


@cache
def rfc_schemas() -> UserSchemas:
    """RFC 7643's own, for a target without /Schemas."""
    # A third of what every process would import at its start, and few ever need it.
    from scim2_models import EnterpriseUser, User

    return UserSchemas(
        {
            CORE_USER: read_schema(User.to_schema().model_dump()),
            ENTERPRISE_USER: read_schema(EnterpriseUser.to_schema().model_dump()),
        },
        from_target=False,
    )


def check_mapping(
    target: str, compiled: CompiledTarget, fields: Sequence[FieldInfo] | None, schemas: UserSchemas
) -> tuple[MappingProblem, ...]:
    """Every problem of a compiled mapping against the fields of the site, None where they are not known, and the attributes of
    the target.
    """
    known = {field.name: field for field in fields or ()}
    problems = [] if fields is None else [*_unknown_fields(target, compiled, known)]
    for entry in compiled.entries:
        problems += _entry_problems(f"targets.{target}.mapping.{entry.text}", entry, known, schemas)
    return tuple(problems) + _required(target, compiled, schemas)


def _unknown_fields(
    target: str, compiled: CompiledTarget, known: Mapping[str, FieldInfo]
) -> Iterator[MappingProblem]:
    names = BASE_NAMES | set(known)
    sources = [(f"mapping.{entry.text}", entry.expression) for entry in compiled.entries]
    if compiled.scope:
        sources.append(("scope", compiled.scope))
    for key, expression in sources:
        for name in sorted(expression.names - names):
            near = nearest(name, frozenset(names))
            hint = f"{near} `scimpipe fields` lists those that we may read".lstrip()
            yield MappingProblem(f"targets.{target}.{key}", f"Drupal shows no user field {name!r}", hint)


def _entry_problems(
    key: str, entry: Entry, fields: Mapping[str, FieldInfo], schemas: UserSchemas
) -> Iterator[MappingProblem]:
    path = entry.path
    attributes = _schema(schemas, path.schema)
    if attributes is None:
        # Without the target's word, an extension of its own cannot be judged.
        if schemas.from_target:
            hint = (
                nearest(str(path.schema), frozenset(schemas.schemas))
                or "`scimpipe attributes` lists what it has"
            )
            yield MappingProblem(key, f"the target has no schema {path.schema}", hint)
        return
    if path.attribute in _COMMON and path.schema is None:
        return
    attribute = _find(attributes, path.attribute)
    if attribute is None:
        hint = nearest(path.attribute, frozenset(each.name for each in attributes))
        yield MappingProblem(
            key,
            f"a SCIM user has no attribute {path.attribute!r}",
            hint or "`scimpipe attributes` lists them",
        )
        return
    leaf = _find(attribute.sub_attributes, path.sub) if path.sub else attribute
    if leaf is None:
        hint = nearest(str(path.sub), frozenset(each.name for each in attribute.sub_attributes))
        yield MappingProblem(
            key,
            f"{attribute.name} has no sub-attribute {path.sub!r}",
            hint or "`scimpipe attributes` lists them",
        )
        return
    yield from _shape_problems(key, entry, attribute, leaf)
    yield from _value_problems(key, entry, attribute, leaf, fields)


def _shape_problems(
    key: str, entry: Entry, attribute: Attribute, leaf: Attribute
) -> Iterator[MappingProblem]:
    path = entry.path
    if leaf.mutability.lower() == "readonly":
        yield MappingProblem(key, f"{entry.text} is read-only on the target", "take it out of the mapping")
    if attribute.multi_valued and path.sub and not path.filters:
        yield MappingProblem(
            key,
            f"{attribute.name} holds several values",
            f'say which one: {attribute.name}[type eq "work"].{path.sub}',
        )
    if path.filters and not attribute.multi_valued:
        yield MappingProblem(key, f"{attribute.name} holds one value", f"write {attribute.name} without [ ]")


def _value_problems(
    key: str, entry: Entry, attribute: Attribute, leaf: Attribute, fields: Mapping[str, FieldInfo]
) -> Iterator[MappingProblem]:
    name = entry.expression.plain_name
    if name is None:
        return
    several = name == "roles" or (name in fields and fields[name].multiple)
    takes_list = attribute.multi_valued and not entry.path.sub and not entry.path.filters
    if several and not takes_list:
        yield MappingProblem(
            key,
            f"{name} holds several values and {entry.text} takes one",
            f"write {name} | first, or {name} | join(', ')",
        )
    if takes_list and not several:
        sub = "value" if attribute.sub_attributes else ""
        yield MappingProblem(
            key,
            f"{entry.text} takes a list and {name} holds one value",
            f'write {attribute.name}[type eq "work"].{sub}' if sub else "map a field with several values",
        )
    if leaf.type == "complex" and not takes_list and not several:
        first = next((each.name for each in leaf.sub_attributes), "value")
        yield MappingProblem(key, f"{entry.text} has parts", f"map one of them: {entry.text}.{first}")
    if leaf.type == "boolean" and name in {"name", "mail", "uuid", "langcode", "timezone", "roles"}:
        yield MappingProblem(
            key, f"{entry.text} is true or false and {name} is text", "write a condition, such as status"
        )


def _required(target: str, compiled: CompiledTarget, schemas: UserSchemas) -> tuple[MappingProblem, ...]:
    if not schemas.from_target:
        return ()
    mapped = {entry.path.attribute.lower() for entry in compiled.entries if entry.path.schema is None}
    core = _schema(schemas, None) or ()
    return tuple(
        MappingProblem(
            f"targets.{target}.mapping", f"the target requires {each.name}", f"add a line for {each.name}"
        )
        for each in core
        if each.required
        and each.mutability.lower() != "readonly"
        and each.name.lower() not in mapped | {"id"}
    )


def _schema(schemas: UserSchemas, urn: str | None) -> tuple[Attribute, ...] | None:
    wanted = (urn or CORE_USER).lower()
    return next(
        (attributes for known, attributes in schemas.schemas.items() if known.lower() == wanted), None
    )


def _find(attributes: Sequence[Attribute], name: str) -> Attribute | None:
    return next((each for each in attributes if each.name.lower() == name.lower()), None)

"""From a Drupal user to a SCIM resource: a target's mapping and scope, compiled once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from config.json_text import encoded
from config.settings import LeaverSettings, MappedValue, TargetSettings
from provisioning.diff import keyed
from provisioning.expressions import EvaluationError, Expression, ExpressionError, compiled
from provisioning.model import Desired, JsonValue, Presence, Source, SourceUser
from provisioning.paths import CORE_USER, Path, PathError, parse, set_value, value_at
from provisioning.values import Takes, carried, takes

FINGERPRINT_BYTES = 9
GONE = "!"
BASE_NAMES = frozenset(
    {
        "uid",
        "uuid",
        "name",
        "mail",
        "status",
        "roles",
        "langcode",
        "timezone",
        "created",
        "changed",
        "access",
        "login",
    }
)


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """key: where in scimpipe.toml; what: what is wrong; write: what to write instead."""

    key: str
    what: str
    write: str


class MappingError(ValueError):
    """A mapping or scope that cannot be compiled: every problem at once."""

    def __init__(self, problems: tuple[MappingProblem, ...]) -> None:
        super().__init__("\n".join(f"{problem.key}: {problem.what}; {problem.write}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a mapping, compiled."""

    text: str
    path: Path
    expression: Expression
    on_create: bool
    takes: Takes


@dataclass(frozen=True, slots=True)
class CompiledTarget:
    """A target's mapping and scope. names: the Drupal fields they read, read: the same in one order. mapped: paths kept
    in step after create. leavers: what becomes of the accounts of users who leave.
    """

    entries: tuple[Entry, ...]
    scope: Expression | None
    names: frozenset[str]
    read: tuple[str, ...]
    mapped: frozenset[str]
    external_id_is_uuid: bool
    leavers: LeaverSettings
    policy_digest: str

    def source(self, uuid: str, user: SourceUser | None, key: bytes) -> Source:
        """One user's side of a decision. Raises EvaluationError."""
        if user is None:
            return Source(uuid, Presence.GONE, None, self.gone_fingerprint(key))
        fingerprint = self.fingerprint(user, key)
        try:
            desired = self.render(user)
        except EvaluationError:
            # Whose fields were emptied before the account was blocked leaves all the same: that needs none of them.
            presence = self._presence(user, None)
            if presence is Presence.ACTIVE:
                raise
            return Source(uuid, presence, None, fingerprint)
        return Source(uuid, self._presence(user, desired), desired, fingerprint)

    def fingerprint(self, user: SourceUser, key: bytes) -> str:
        """Changes when anything the decision reads changes: the fields in use, or the mapping itself. Cheap: nothing
        is rendered.
        """
        values = [self.policy_digest, user.uuid, user.active, *map(user.values.get, self.read)]
        return keyed(encoded(values, str), key, FINGERPRINT_BYTES)

    def gone_fingerprint(self, key: bytes) -> str:
        """Of every user who is gone. Begins with GONE, as no other does, so that such links can be counted."""
        return GONE + keyed(f"{self.policy_digest} gone".encode(), key, FINGERPRINT_BYTES)

    def render(self, user: SourceUser) -> Desired:
        """What the account should hold. Raises EvaluationError, naming the attribute."""
        attributes: dict[str, JsonValue] = {}
        on_create: dict[str, JsonValue] = {}
        values = user.values
        for entry in self.entries:
            try:
                value = carried(entry.expression.evaluate(values), entry.takes)
            except EvaluationError as error:
                raise EvaluationError(f"{entry.text}: {error}") from None
            if value is not None:
                (on_create if entry.on_create else attributes)[entry.text] = value
        if "userName" not in attributes and "userName" not in on_create:
            raise EvaluationError("userName is empty for this user; map it to a field that every user has")
        return Desired(attributes, on_create)

    def _presence(self, user: SourceUser, desired: Desired | None) -> Presence:
        if not user.active or (desired is not None and desired.attributes.get("active") is False):
            return Presence.BLOCKED
        return Presence.ACTIVE if self.scope is None or self._in_scope(user) else Presence.OUT_OF_SCOPE

    def _in_scope(self, user: SourceUser) -> bool:
        assert self.scope is not None, "asked only when there is a scope"
        try:
            return bool(self.scope.evaluate(user.values))
        except EvaluationError as error:
            raise EvaluationError(f"scope: {error}") from None


# What is asked for by name here, and would not be known by another spelling (RFC 7643 2.1 knows no letter case).
_SPELLED = {name.lower(): name for name in ("active", "externalId", "userName")}


def compile_target(settings: TargetSettings) -> CompiledTarget:
    """Raises MappingError with every problem of mapping, scope and matching."""
    problems: list[MappingProblem] = []
    where = f"targets.{settings.name}"
    entries = tuple(
        entry
        for text, value in settings.mapping.items()
        if (entry := _entry(f"{where}.mapping.{text}", text, value, problems)) is not None
    )
    scope = _scope(f"{where}.scope", settings.scope, problems)
    if problems:
        raise MappingError(tuple(problems))
    expressions = [entry.expression for entry in entries] + ([scope] if scope else [])
    external_id = next((entry for entry in entries if entry.text == "externalId"), None)
    names = frozenset[str]().union(*(expression.names for expression in expressions))
    return CompiledTarget(
        entries=entries,
        scope=scope,
        names=names,
        read=tuple(sorted(names)),
        mapped=frozenset(entry.text for entry in entries if not entry.on_create),
        external_id_is_uuid=external_id is not None and external_id.expression.plain_name == "uuid",
        leavers=settings.leavers,
        policy_digest=_policy_digest(settings),
    )


def compile_all(targets: Mapping[str, TargetSettings]) -> dict[str, CompiledTarget]:
    """By name. Raises MappingError with the problems of the first that has any."""
    return {name: compile_target(target) for name, target in targets.items()}


def _entry(key: str, text: str, value: MappedValue, problems: list[MappingProblem]) -> Entry | None:
    try:
        path = parse(text)
    except PathError as error:
        problems.append(MappingProblem(key, str(error), "see docs/configuration.md, mapping"))
        return None
    if text != (spelled := _SPELLED.get(str(path).lower(), text)):
        problems.append(
            MappingProblem(key, "this attribute is known by one spelling only", f"write {spelled}")
        )
        return None
    if path.schema is None and path.attribute.lower() == "schemas":
        problems.append(
            MappingProblem(
                key, "schemas are written for the attributes that are mapped", "take this line out"
            )
        )
        return None
    try:
        expression = compiled(value.value)
    except ExpressionError as error:
        problems.append(
            MappingProblem(key, str(error), "write an expression over Drupal fields, such as mail | lower")
        )
        return None
    return Entry(text, path, expression, value.on == "create", takes(path))


def _scope(key: str, text: str, problems: list[MappingProblem]) -> Expression | None:
    if not text.strip():
        return None
    try:
        return compiled(text)
    except ExpressionError as error:
        problems.append(
            MappingProblem(key, str(error), "write a condition such as 'member' in roles, or leave it empty")
        )
        return None


def _policy_digest(settings: TargetSettings) -> str:
    policy = settings.model_dump(mode="json", include={"mapping", "scope", "leavers", "adopt", "matching"})
    return hashlib.blake2b(json.dumps(policy, sort_keys=True).encode(), digest_size=8).hexdigest()


def new_resource(desired: Desired) -> dict[str, Any]:
    """The SCIM JSON of a create (RFC 7644 3.3), with the schemas it uses."""
    values = {**desired.attributes, **desired.on_create}
    schemas, places = _places(tuple(values))
    resource: dict[str, Any] = {"schemas": [*schemas]}
    for (name, path), value in zip(places, values.values(), strict=True):
        if name:
            resource[name] = value
        else:
            set_value(resource, path, value)
    return resource


@lru_cache(maxsize=256)
def _places(texts: tuple[str, ...]) -> tuple[Sequence[str], Sequence[tuple[str, Path]]]:
    """The schemas of a resource that has these paths; and each path, with its name where it is simply a member of the resource, that
    no other spells in another way. Nearly all users have the same ones.
    """
    paths = [parse(text) for text in texts]
    schemas = dict.fromkeys([CORE_USER, *(path.schema for path in paths if path.schema)])
    times = Counter(path.attribute.lower() for path in paths)
    alone = {
        path for path in paths if path == Path(None, path.attribute) and times[path.attribute.lower()] == 1
    }
    places = [(path.attribute if path in alone else "", path) for path in paths]
    return tuple(schemas), tuple(places)


def matching_value(desired: Desired, attribute: str) -> str | None:
    """The text to look for an account by, None when this user has none."""
    value = desired.attributes.get(attribute)
    if value is None:
        value = value_at(new_resource(desired), parse(attribute))
    if isinstance(value, list):
        value = next((item for item in value if item), None)
    if isinstance(value, dict):
        value = value.get("value")
    return None if value is None or isinstance(value, dict) else str(value)


def nearest(name: str, known: frozenset[str] | set[str]) -> str:
    """A hint for a mistyped name, empty when nothing is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else ""

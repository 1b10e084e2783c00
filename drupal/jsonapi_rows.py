"""Users out of JSON:API documents, with the values the database reader gives."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from drupal.errors import NotPermitted, Unintelligible, UnknownField
from provisioning.model import FieldInfo, SourceUser, UserRef

UID, STATUS = "drupal_internal__uid", "status"
TIMES = ("created", "changed", "access", "login")
TEXTS = ("name", "mail", "langcode", "timezone")
# What every user is read with; the mapping's own fields come on top.
BASE_FIELDS = (UID, STATUS, "roles", *TEXTS, *TIMES)


P = ParamSpec("P")
T = TypeVar("T")


def _of_rows(read: Callable[P, T]) -> Callable[P, T]:
    """A document may hold anything where an object, a number or a time should be: Unintelligible says so."""

    @functools.wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            raise Unintelligible("Drupal answered with a user that makes no sense") from None

    return reading


def rows_of(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rows of a page. Raises Unintelligible."""
    data = document.get("data")
    if not isinstance(data, list) or not all(isinstance(row, Mapping) and row.get("id") for row in data):
        raise Unintelligible("Drupal answered without a list of users")
    return data


@_of_rows
def suspicious(document: Mapping[str, Any]) -> bool:
    """Rows without what every user has, or left out altogether: we may not be who we think we are."""
    meta = document.get("meta")
    if isinstance(meta, Mapping) and "omitted" in meta:
        return True
    return any(not _complete(row) for row in rows_of(document))


def _complete(row: Mapping[str, Any]) -> bool:
    attributes = row.get("attributes") or {}
    return UID in attributes and STATUS in attributes and "roles" in (row.get("relationships") or {})


@_of_rows
def refuse_incomplete(document: Mapping[str, Any]) -> None:
    """We are who we think we are, and still do not see everything. Raises NotPermitted with what to grant."""
    if suspicious(document):
        raise NotPermitted(
            "the account does not see status and roles of every user; grant its role the permission 'administer users'"
        )
    if any("mail" not in row["attributes"] for row in rows_of(document)):
        raise NotPermitted(
            "the account does not see mail; grant its role the permission 'View user email addresses'"
        )


@_of_rows
def user_of(row: Mapping[str, Any], names: Sequence[str]) -> SourceUser:
    """A user. names: those that must be shown, the site's own fields among them, all of which are in `values`. Raises
    UnknownField where one is not.
    """
    attributes, relations = row["attributes"], row.get("relationships") or {}
    uid = int(attributes[UID])
    values: dict[str, Any] = {
        "uid": uid,
        "uuid": str(row["id"]),
        "status": bool(attributes[STATUS]),
        "roles": sorted(
            name for name in map(_reference, _listed(relations["roles"])) if name and name != "authenticated"
        ),
        **{name: _text(attributes.get(name)) for name in TEXTS},
        **{name: unix(attributes.get(name)) for name in TIMES},
    }
    for name in names:
        if name in attributes:
            values.setdefault(name, _value(attributes[name]))
        elif name in relations:
            values[name] = _related(relations[name])
        else:
            # Of an empty field Drupal shows null, or no elements.
            raise UnknownField(
                f"Drupal does not show the user field {name}: renamed, deleted, or not for this account to see; "
                "`scimpipe fields` lists what it shows"
            )
    return SourceUser(uid, str(row["id"]), values)


@_of_rows
def ref_of(row: Mapping[str, Any]) -> UserRef:
    attributes = row["attributes"]
    return UserRef(int(attributes[UID]), str(row["id"]), unix(attributes.get("changed")))


@_of_rows
def field_infos(row: Mapping[str, Any]) -> Sequence[FieldInfo]:
    """The site's own fields, as one user shows them."""
    found = []
    for name, value in (row.get("attributes") or {}).items():
        if name.startswith("field_"):
            first = value[0] if isinstance(value, list) and value else value
            columns = tuple(key for key in first if key != "processed") if isinstance(first, Mapping) else ()
            found.append(FieldInfo(name, isinstance(value, list), columns))
    for name, relation in (row.get("relationships") or {}).items():
        if name.startswith("field_"):
            found.append(FieldInfo(name, isinstance(relation.get("data"), list)))
    return found


def unix(text: Any) -> int:
    """`2023-11-15T05:13:20+00:00` as Unix seconds; never is 0. Raises Unintelligible."""
    if text is None:
        return 0
    try:
        return int(dt.datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        raise Unintelligible("Drupal answered with a time that is none") from None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, Mapping):
        return {key: part for key, part in value.items() if key != "processed"}
    return value


def _listed(relation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    data = relation.get("data")
    if data is None:
        return ()
    return data if isinstance(data, list) else (data,)


def _related(relation: Mapping[str, Any]) -> Any:
    references = [target for each in _listed(relation) if (target := _reference(each)) is not None]
    return references if isinstance(relation.get("data"), list) else next(iter(references), None)


def _reference(reference: Mapping[str, Any]) -> Any:
    """The id within the site: a role's machine name, a term's number."""
    meta = reference.get("meta")
    target = meta.get("drupal_internal__target_id") if isinstance(meta, Mapping) else None
    if target is not None:
        return target
    # What is not there any more, as a term that was deleted, has a word in place of an id.
    return None if reference.get("id") in {"missing", "virtual"} else reference.get("id")

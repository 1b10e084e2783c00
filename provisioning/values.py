"""What the value of an expression becomes, by the type its attribute has in RFC 7643: text, or elements of a list."""

from __future__ import annotations

from enum import Enum

from provisioning.model import JsonValue
from provisioning.paths import Path

ENTERPRISE_USER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

# The attributes of a User (RFC 7643 4.1, 4.3) by type, in small letters. That they are all is tested against the RFC's schemas.
_TEXT = frozenset({
    "externalid", "username", "displayname", "nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale",
    "timezone", "password",
})  # fmt: skip
_ELEMENTS = frozenset(
    {"emails", "phonenumbers", "ims", "photos", "entitlements", "roles", "x509certificates", "groups"}
)
_PARTS = _ELEMENTS | {"name", "addresses"}
_ENTERPRISE_TEXT = frozenset({"employeenumber", "costcenter", "organization", "division", "department"})
_ENTERPRISE_PARTS = frozenset({"manager"})


class Takes(Enum):
    """text: one text. elements: a list of objects, each with its value under `value` (RFC 7643 2.4). truth: of `active`,
    where no value is false.
    """

    TEXT = "text"
    TRUTH = "truth"
    ELEMENTS = "elements"
    ANY = "any"


# Looked up in their class they would be a third of what is done for a value.
_TRUTH, _LISTED = Takes.TRUTH, Takes.ELEMENTS


def takes(path: Path) -> Takes:
    """ANY where RFC 7643 does not say, as for an extension of the target's own."""
    attribute, sub = path.attribute.lower(), (path.sub or "").lower()
    if path.schema is None:
        text, parts = _TEXT, _PARTS
    elif path.schema.lower() == ENTERPRISE_USER.lower():
        text, parts = _ENTERPRISE_TEXT, _ENTERPRISE_PARTS
    else:
        return Takes.ANY
    if sub:
        return Takes.TEXT if attribute in parts and sub != "primary" else Takes.ANY
    if path.schema is None and attribute == "active":
        return Takes.TRUTH
    if path.schema is None and attribute in _ELEMENTS and not path.filters:
        return Takes.ELEMENTS
    return Takes.TEXT if attribute in text else Takes.ANY


def carried(value: JsonValue, kind: Takes) -> JsonValue:
    """The value as the attribute takes it, None where there is none: a strict target refuses a number for a text."""
    if kind is _TRUTH:
        return bool(value)
    if isinstance(value, str) and kind is not _LISTED:
        return value if value and not value.isspace() else None
    if _is_empty(value):
        return None
    if kind is _LISTED:
        elements = [each for each in (value if isinstance(value, list) else [value]) if not _is_empty(each)]
        return [each if isinstance(each, dict) else {"value": _text(each)} for each in elements] or None
    return _text(value) if kind is Takes.TEXT else value


def _is_empty(value: JsonValue) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value in ([], {})


def _text(value: JsonValue) -> JsonValue:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value

"""Filters and URLs (RFC 7644 3.4.2.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from provisioning.model import RemoteUser
from provisioning.paths import get, meant, parse, value_at

# A value of no account.
NOBODY = "nobody@scimpipe.invalid"
# userName and e-mail addresses are compared without regard to case (RFC 7643 4.1.1, 4.1.2); ids are not.
_EXACT = frozenset({"externalid", "id"})


def equals(attribute: str, value: str) -> str:
    """`userName eq "bjensen"`: a filter's text is a JSON string, so quotes and control characters are escaped. A path
    into an element is asked for as `emails[type eq "work" and value eq "..."]`; a filter knows no other form.
    """
    path = parse(attribute)
    text = json.dumps(value, ensure_ascii=False)
    if path.filters:
        element = str(path.element).removesuffix("]")
        return f"{element} and {path.sub or 'value'} eq {text}]"
    return f"{attribute} eq {text}"


def contains(attribute: str, value: str) -> str:
    return f"{attribute} co {json.dumps(value, ensure_ascii=False)}"


def resource_path(scim_id: str) -> str:
    """/Users/{id}, whatever characters the id has."""
    return f"/Users/{quote(scim_id, safe='')}"


def texts_at(account: RemoteUser, attribute: str) -> list[str]:
    """All values an account has for an attribute, as text: of every element that a path's filter fits."""
    path = parse(attribute)
    if path.filters:
        elements = meant(value_at(account.resource, path.whole), path.filters)
        values = [get(element, path.sub or "value") for element in elements]
    else:
        actual = value_at(account.resource, path)
        values = actual if isinstance(actual, list) else [actual]
    return [str(each) for each in values if each is not None]


def matches(account: RemoteUser, attribute: str, value: str) -> bool:
    """Whether an account truly has the value that was asked for: some servers ignore filters."""
    values = texts_at(account, attribute)
    if attribute.lower() in _EXACT:
        return value in values
    return any(each.casefold() == value.casefold() for each in values)


def mentions(account: RemoteUser, text: str) -> bool:
    """Whether what people know an account by contains a text."""
    wanted = text.casefold()
    names = ("id", "externalId", "userName", "displayName")
    emails = account.resource.get("emails")
    addresses = (
        [each.get("value") for each in emails if isinstance(each, Mapping)]
        if isinstance(emails, list)
        else []
    )
    return any(
        wanted in str(value).casefold() for value in [*map(account.resource.get, names), *addresses] if value
    )

"""PATCH operations for changes (RFC 7644 3.5.2), as few as will do."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from provisioning.mapping import new_resource
from provisioning.model import Changes, Desired
from provisioning.paths import Path, parse, remove_value, value_at

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def patch_body(
    changes: Changes, desired: Desired | None, there: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """there: the account as it was just read, which is needed where `concerns_elements`."""
    if there is not None:
        changes = replace(
            changes, added=frozenset(text for text in changes.added if not _is_there(text, there))
        )
    return {"schemas": [PATCH_OP], "Operations": list(operations(changes, desired, there or {}))}


def concerns_elements(changes: Changes, desired: Desired | None) -> bool:
    """Whether elements of lists are concerned that may be there though they were never sent, or hold more than was sent."""
    mapped = _elements(desired)
    removed = [parse(text) for text in changes.removed]
    return any(parse(text).filters for text in changes.added) or any(
        path.filters and path.element not in mapped and path.element not in _emptied(removed)
        for path in removed
    )


def operations(
    changes: Changes, desired: Desired | None, there: Mapping[str, Any] | None = None
) -> Iterable[dict[str, Any]]:
    """Removals first, so that what is set afterwards stays."""
    kept = _elements(desired) | _with_more(changes, there or {})
    removed: set[str] = set()
    for text in changes.removed:
        path = parse(text)
        # The last part of a list's element takes the element with it.
        gone = path.element if path.filters and path.element not in kept else path
        if str(gone) not in removed:
            removed.add(str(gone))
            yield {"op": "remove", "path": str(gone)}
    whole: set[Path] = set()
    for text, value in changes.set.items():
        path = parse(text)
        if not path.filters or not _new_element(path, changes, desired):
            yield {"op": "replace", "path": text, "value": value}
        elif path.element not in whole:
            whole.add(path.element)
            yield _add_element(path, changes, desired)


def _elements(desired: Desired | None) -> set[Path]:
    return {path.element for path in map(parse, desired.attributes)} if desired else set()


def _emptied(removed: Iterable[Path]) -> set[Path]:
    """Elements that are nothing any more: `value` is what an element is about (RFC 7643 2.4)."""
    return {path.element for path in removed if path.sub in {None, "value"}}


def _with_more(changes: Changes, there: Mapping[str, Any]) -> set[Path]:
    """Elements in which others have put something as well: of an address the street, where the town alone is mapped."""
    removed = [parse(text) for text in changes.removed]
    rest = copy.deepcopy(dict(there))
    for path in removed:
        remove_value(rest, path)
    left = {path.element for path in removed if path.filters and value_at(rest, path.element) is not None}
    return left - _emptied(removed)


def _is_there(text: str, there: Mapping[str, Any]) -> bool:
    """An element of a list that was never sent may be there all the same: then it is changed, and no second one made."""
    path = parse(text)
    return bool(path.filters) and value_at(there, path.element) is not None


def _new_element(path: Path, changes: Changes, desired: Desired | None) -> bool:
    """True when no part of this element was on the target before, as far as we know."""
    known = [
        text
        for text in (desired.attributes if desired else changes.set)
        if parse(text).element == path.element
    ]
    return all(text in changes.added for text in known or [str(path)])


def _add_element(path: Path, changes: Changes, desired: Desired | None) -> dict[str, Any]:
    attributes = {**(desired.attributes if desired else {}), **changes.set}
    parts = {text: value for text, value in attributes.items() if parse(text).element == path.element}
    element = value_at(new_resource(Desired(parts)), path.element)
    return {"op": "add", "path": str(path.whole), "value": [element]}

"""PATCH operations for changes (RFC 7644 3.5.2), as few as will do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from provisioning.mapping import new_resource
from provisioning.model import Changes, Desired
from provisioning.paths import Path, parse, value_at

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def patch_body(changes: Changes, desired: Desired | None) -> dict[str, Any]:
    return {"schemas": [PATCH_OP], "Operations": list(operations(changes, desired))}


def operations(changes: Changes, desired: Desired | None) -> Iterable[dict[str, Any]]:
    """Removals first, so that what is set afterwards stays."""
    kept = {path.element for path in map(parse, desired.attributes)} if desired else set()
    removed: set[str] = set()
    for text in changes.removed:
        path = parse(text)
        # The last mapped part of a list's element takes the element with it.
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

"""What differs between what a user should be and what an account is: by digest, or by looking at it.

Digests let an update send only what changed without any value being stored (DESIGN 1.4).
"""

from __future__ import annotations

import copy
import hashlib
import json
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from config.json_text import encoded
from provisioning.model import DOUBT, SPELLED, Changes, Desired, JsonValue, Link, RemoteUser
from provisioning.paths import member, parse, remove_value, set_value, value_at

DIGEST_BYTES = 6
# Of the eight: one in 4 million million changes is taken for none, and a link of ten attributes is ten bytes shorter.
DIGEST_LETTERS = 7
# Made once: json.dumps with options makes one a call.
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_ALIKE = frozenset({str, bool})
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_EMPTY: tuple[JsonValue, ...] = (None, "", [])
# Never returned by a target (RFC 7643 4.1.1, returned: never): their absence from an answer says nothing.
_UNREADABLE = frozenset({"password"})


def keyed(text: bytes, key: bytes, size: int) -> str:
    """A keyed BLAKE2b of text, `size` bytes as URL-safe base64. Without the key it says nothing about the text."""
    return _letters(_hashed(_begun(key, size), text))


def _hashed(begun: hashlib.blake2b, text: bytes) -> bytes:
    hashing = begun.copy()
    hashing.update(text)
    return hashing.digest()


def _letters(hashed: bytes) -> str:
    return b2a_base64(hashed, newline=False).translate(_URL_SAFE, b"=").decode()


@lru_cache(maxsize=8)
def _begun(key: bytes, size: int) -> hashlib.blake2b:
    """With the key taken in, which is as much work as a short text."""
    return hashlib.blake2b(key=key, digest_size=size)


def digest(value: JsonValue, key: bytes) -> str:
    """The digest of one attribute's value."""
    return keyed(_text(value), key, DIGEST_BYTES)[:DIGEST_LETTERS]


def digests(desired: Desired, key: bytes) -> dict[str, str]:
    """Of all attributes, made into letters at once: six bytes are eight of them."""
    attributes, begun = desired.attributes, _begun(key, DIGEST_BYTES)
    hashes = [_hashed(begun, _text(value)) for value in attributes.values()]
    letters = _letters(b"".join(hashes))
    starts = range(0, len(letters), len(letters) // len(hashes)) if hashes else ()
    return {
        path: letters[start : start + DIGEST_LETTERS] for path, start in zip(attributes, starts, strict=True)
    }


def _text(value: JsonValue) -> bytes:
    # Nearly every value is one of these, of which both make the same (tests/unit/provisioning/test_digests.py).
    return encoded(value) if type(value) in _ALIKE else _ENCODER.encode(value).encode()


def sent_inactive(digests: Mapping[str, str], key: bytes) -> bool:
    """Whether a deactivation was sent last, and answered."""
    # Not as a user in scope is sent: so it was deactivated since, also where the digest is under a key that we had before.
    return digests.get("active", DOUBT) not in {DOUBT, digest(True, key)}


def told_apart(link: Link, key: bytes) -> Link:
    """With may_be_active as the digests say. Where there are none, what was seen of the account is believed."""
    if link.active or not link.has_account:
        return link
    return link._replace(may_be_active=bool(link.digests) and not sent_inactive(link.digests, key))


def changes_since(link: Link, desired: Desired, mapped: frozenset[str], key: bytes) -> Changes:
    """What differs from what was sent last. A path that is still mapped but has no value any more is removed;
    one that left the mapping is left alone.
    """
    now = _with_active(desired, link.active)
    changed = {path: value for path, value in now.items() if link.digests.get(path) != digest(value, key)}
    removed = tuple(path for path in link.digests if path not in now and path in mapped)
    return Changes(changed, removed, frozenset(path for path in changed if path not in link.digests))


def changes_from(
    resource: Mapping[str, Any], desired: Desired, mapped: frozenset[str], sent: Mapping[str, str]
) -> Changes:
    """What differs from what the account holds. mapped: the paths to compare; sent: digests of what we sent
    before, because an empty field takes an attribute away only where we had set it.
    """
    wanted = _with_active(desired, RemoteUser("", None, resource).active)
    wanted = {
        path: value for path, value in wanted.items() if path in mapped or path not in desired.attributes
    }
    held = {path: value_at(resource, parse(path)) for path in wanted}
    changed = {path: value for path, value in wanted.items() if not _equal(held[path], value)}
    removed = tuple(
        path
        for path in sent
        if path in mapped and path not in wanted and value_at(resource, parse(path)) not in _EMPTY
    )
    return Changes(changed, removed, frozenset(path for path in changed if held[path] in _EMPTY))


def _with_active(desired: Desired, active_there: bool) -> Mapping[str, JsonValue]:
    """A user in scope is active even where `active` is not mapped: a deactivation of ours is taken back."""
    if active_there or "active" in desired.attributes:
        return desired.attributes
    return {**desired.attributes, "active": True}


def _equal(actual: JsonValue, wanted: JsonValue) -> bool:
    if isinstance(wanted, bool):
        return str(actual).lower() in SPELLED[wanted]
    if isinstance(wanted, list):
        return isinstance(actual, list) and len(actual) == len(wanted) and _paired(actual, wanted)
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(
            (key := member(actual, name)) is not None and _equal(actual[key], value)
            for name, value in wanted.items()
        )
    return bool(actual == wanted)


def _paired(elements: Sequence[Any], wanted: Sequence[JsonValue]) -> bool:
    """Whether each wanted one has an element of its own: who says most chooses first, of those that say least."""
    left = sorted(elements, key=_members)
    for each in sorted(wanted, key=_members, reverse=True):
        at = next((at for at, element in enumerate(left) if _is(element, each)), None)
        if at is None:
            return False
        del left[at]
    return True


def _members(element: JsonValue) -> int:
    return len(element) if isinstance(element, dict) else 0


def _is(element: JsonValue, wanted: JsonValue) -> bool:
    """Servers add display, $ref and primary to elements, or wrap a bare value: {"value": ...}."""
    if isinstance(element, dict) and not isinstance(wanted, dict):
        return _equal(element.get("value"), wanted)
    return _equal(element, wanted)


def merge(resource: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The whole account for a PUT: what the target has, with our changes; what we do not map stays (RFC 7644 3.5.1)."""
    merged: dict[str, Any] = copy.deepcopy({key: value for key, value in resource.items() if key != "meta"})
    for text in changes.removed:
        remove_value(merged, parse(text))
    for text, value in changes.set.items():
        path = parse(text)
        set_value(merged, path, copy.deepcopy(value))
        schemas = merged.setdefault("schemas", [])
        if path.schema and isinstance(schemas, list) and path.schema not in schemas:
            schemas.append(path.schema)
    return merged


def not_kept(
    sent: Mapping[str, JsonValue], answer: Mapping[str, Any], removed: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of sent attributes which the target's answer shows dropped or rewritten, and of removed ones that it still has. An
    answer that is not a whole resource (no userName) proves nothing.
    """
    if member(answer, "userName") is None:
        return ()
    return tuple(
        path
        for path, value in sent.items()
        if parse(path).attribute.lower() not in _UNREADABLE
        and not _equal(value_at(answer, parse(path)), value)
    ) + tuple(path for path in removed if value_at(answer, parse(path)) not in _EMPTY)


def shows(account: Mapping[str, Any], changes: Changes) -> bool:
    """Whether an account that was read has all of an update."""
    whole = member(account, "userName") is not None
    return whole and not not_kept(changes.set, account, changes.removed)

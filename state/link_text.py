"""A link as one line of text, so that a million of them stay small: fields separated by tabs.

scim id, version, fingerprint, active, layout, digests, and after those path and digest in turns, of what has no place in the
layout. active: 1, - for deactivated, ~ for inactive but not by us (Link.may_be_active), 0 where there is no account. A layout
is a list of paths under a short name, kept in Redis once (`state.links`); digests are one after the other in its order, seven
letters each, or one: `?` is in doubt, `.` is none. A path is a hash of four letters here; which one that is, the mapping says.

Links written before there were layouts have path and digest in turns after `active`, of eight letters, and are read as well;
so are older ones that have 0 for whatever is not active.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from provisioning.diff import DIGEST_LETTERS
from provisioning.model import DOUBT, Link

# No path's hash begins with it.
LAYOUT, UNMAPPED = "#", "#"
ACTIVE, DEACTIVATED, MAY_BE_ACTIVE, NO_ACCOUNT = "1", "-", "~", "0"
_HASH_LENGTH, _NAME_LENGTH = 4, 5
_NONE = "."
_DIGEST = re.compile(rf"[{_NONE}{DOUBT}]|.{{{DIGEST_LETTERS}}}")


class LinkText:
    """Writes links with the layout of today's mapping, and reads those of any. paths: the mapped SCIM paths.

    layout, layout_paths: name and content of the layout that is written.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        ordered = sorted({*paths, "active"})
        self._paths = {_short(path): path for path in ordered}
        self.layout_paths = "".join(map(_short, ordered))
        self.layout = LAYOUT + _hash(self.layout_paths, 6)[:_NAME_LENGTH]
        self._written = dict.fromkeys(ordered).keys()
        self._layouts: dict[str, Sequence[str]] = {self.layout: ordered}

    def learn(self, layouts: Mapping[str, str]) -> None:
        """Layouts of other mappings, by name."""
        for name, paths in layouts.items():
            starts = range(0, len(paths), _HASH_LENGTH)
            self._layouts[name] = [self._path(paths[start : start + _HASH_LENGTH]) for start in starts]

    def write(self, link: Link) -> str:
        known = [
            link.scim_id,
            link.version or "",
            link.fingerprint,
            ACTIVE if link.active else _inactive(link),
        ]
        if not link.digests:
            return "\t".join(known)
        digests, written = link.digests, self._written
        laid_out = "".join([digests.get(path, _NONE) for path in written])
        if digests.keys() <= written:
            return "\t".join((*known, self.layout, laid_out))
        others = chain.from_iterable(
            (_short(path), each) for path, each in digests.items() if path not in written
        )
        return "\t".join((*known, self.layout, laid_out, *others))

    def read(self, text: str) -> Link | None:
        """None for a layout that is not known, or is another one by the same name."""
        scim_id, version, fingerprint, active, *rest = text.split("\t")
        digests: dict[str, str] = {}
        if rest and rest[0].startswith(LAYOUT):
            paths, found = self._layouts.get(rest[0]), _DIGEST.findall(rest[1])
            if paths is None or len(paths) != len(found):
                return None
            digests = {path: each for path, each in zip(paths, found, strict=True) if each != _NONE}
            rest = rest[2:]
        pairs = zip(rest[::2], rest[1::2], strict=True)
        digests |= {self._path(short): each[:DIGEST_LETTERS] for short, each in pairs}
        return Link(scim_id, version or None, fingerprint, digests, active == ACTIVE, active == MAY_BE_ACTIVE)

    def read_without_content(self, text: str) -> Link:
        """Without digests: the account is read before its next update."""
        scim_id, version, fingerprint, active, *_ = text.split("\t")
        return Link(scim_id, version or None, fingerprint, {}, active == ACTIVE, active == MAY_BE_ACTIVE)

    def _path(self, short: str) -> str:
        # One that has left the mapping keeps its hash; nothing is done about it any more.
        return self._paths.get(short, UNMAPPED + short)


def names_account_as_inactive(text: str) -> bool:
    """As links were written before deactivated ones had a letter of their own."""
    scim_id, _, _, active, *_ = text.split("\t", 4)
    return bool(scim_id) and active == NO_ACCOUNT


def rewritten(text: str, link: Link) -> str:
    """The text of a link with `active` as it is written today, and everything else as it was."""
    fields = text.split("\t")
    fields[3] = _inactive(link)
    return "\t".join(fields)


def _inactive(link: Link) -> str:
    if not link.has_account:
        return NO_ACCOUNT
    return MAY_BE_ACTIVE if link.may_be_active else DEACTIVATED


def _short(path: str) -> str:
    return path.removeprefix(UNMAPPED) if path.startswith(UNMAPPED) else _hash(path, 3)


def _hash(text: str, size: int) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(text.encode(), digest_size=size).digest()).decode()

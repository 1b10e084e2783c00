"""What reconcile needs from the outside, as small protocols beside their consumer.

`drupal`, `scim` and `state` implement them; tests give hand-written fakes with real behaviour.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from provisioning.model import (
    Changes,
    Desired,
    FieldInfo,
    Job,
    Link,
    RemotePage,
    RemoteUser,
    Removal,
    SourceUser,
    Total,
    UserRef,
)


class SourceReader(Protocol):
    """Reads a Drupal site. Everything raises SourceUnreadable when Drupal cannot be read, and never mistakes
    that for a user who is gone. uid 0 (anonymous) is nowhere in the answers.
    """

    async def verify(self) -> str:
        """Proves that we read as the account we think we are. A sentence about it, for `check`."""

    async def read(self, ids: Sequence[str]) -> Mapping[str, SourceUser]:
        """Users by uuid, in one go. A uuid that is not in the answer is gone."""

    async def present(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of the uuids whose user is there; everybody else is gone. Like read, without reading users whole."""

    def scan(self, after: int = 0) -> AsyncIterator[Sequence[SourceUser]]:
        """All users with uid > after, page by page, by ascending uid."""

    def ids(self, after: int = 0) -> AsyncIterator[Sequence[UserRef]]:
        """Like scan, without reading whole users: uid, uuid, changed."""

    async def changed_since(self, since: int) -> Sequence[UserRef]:
        """Users whose `changed` (Unix seconds) is >= since, ordered by (changed, uid)."""

    async def search(self, text: str, limit: int = 50) -> Sequence[SourceUser]:
        """Users whose uid or uuid equals text, or whose name or mail contains it; without regard to case."""

    async def fields(self) -> Sequence[FieldInfo]:
        """Every name a mapping can use on this site."""

    async def close(self) -> None: ...


@runtime_checkable
class CountingReader(SourceReader, Protocol):
    """A reader of a source that can count: who has left is found without reading every id. To be asked for by isinstance.

    A user's row in the table of users is all that counts here: one whose other rows are damaged has not left.
    """

    async def total(self) -> Total:
        """Of all users. The cheapest of questions."""

    async def totals(self, width: int) -> Mapping[int, Total]:
        """By range: number n has the uids from n * width on. Ranges without users are left out."""

    async def uuids(self, first: int, last: int) -> Mapping[int, str]:
        """Uid -> uuid of the users from uid first to uid last."""


class Target(Protocol):
    """One SCIM service provider. Raises provisioning.errors only."""

    async def find(self, attribute: str, value: str, *, certain: bool = False) -> Sequence[RemoteUser]:
        """Accounts whose attribute equals the value, each checked by us against the value (some servers ignore
        filters). Falls back to reading the listing where the target is known not to filter. certain: nothing will contradict
        it if nobody is found, so the listing is read as well where the search shows nobody, whoever is asked for.
        """

    async def find_in_listing(self, attribute: str, value: str) -> Sequence[RemoteUser]:
        """Like find, by reading every account: for when the target's search cannot be believed."""

    async def needs_look_up(self, attribute: str, value: str, *, creating: bool) -> bool:
        """Whether an account with this value has to be looked for, of a user for whom no request was ever written down.
        Not when the listing was read a while ago and had none; nor, creating, when the target itself refuses a second
        one (Conflict). Without the target's word that userName is unique, every create is preceded by a look-up.
        """

    async def get(self, scim_id: str) -> RemoteUser:
        """Raises Missing on 404."""

    async def create(self, resource: Mapping[str, Any]) -> RemoteUser:
        """Raises Conflict, AmbiguousWrite and the rest."""

    async def update(
        self, scim_id: str, changes: Changes, desired: Desired | None, version: str | None
    ) -> RemoteUser | None:
        """Sends changes by PATCH, or GET-merge-PUT, as settings and the target allow. desired is what the whole
        account should be, for elements that have to be sent whole; None when only `active` is set. The account as
        the answer showed it, or None when the target answered without one (204). Raises Missing, Superseded, AmbiguousWrite
        and the rest.
        """

    async def delete(self, scim_id: str) -> None:
        """DELETE; 404 is success."""

    async def probe(self) -> None:
        """One cheap request that shows whether the target works for us at all. Raises Outage when it does not."""

    def listing(self) -> AsyncIterator[RemotePage]:
        """Every account, page by page, each once. Raises rather than ending early on a listing that is not whole."""


class Links(Protocol):
    """The links of one target (state.links)."""

    async def get_many(self, users: Sequence[str]) -> Mapping[str, Link]: ...

    async def put(
        self, user: str, link: Link, *, instead_of: str = "", holder: str = "", made: bool = False
    ) -> bool:
        """Writes a link and claims its scim_id for this user. False, and nothing written, when another user has it, or
        this user is linked to any account but link.scim_id and instead_of: another worker was here meanwhile. holder: of
        the lease; one who has lost it writes nothing, but what names an account that was just made, where none is known.
        """

    async def drop(self, user: str, scim_id: str, *, holder: str = "") -> bool:
        """False, and nothing dropped, when the user is linked to any account but scim_id, or the holder has lost the lease."""

    async def owner(self, scim_id: str) -> str | None:
        """The uuid of the user linked to an account."""


class Rewritten(Protocol):
    """Names of attributes this target drops or rewrites: told to people, never fought over (DESIGN 5.3)."""

    async def names(self) -> frozenset[str]: ...

    async def add(self, names: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why a removal does not happen. rejected: a person has said no; otherwise one is still to be asked."""

    reason: str
    rejected: bool = False


class Guard(Protocol):
    """The removal budget (DESIGN 1.7)."""

    async def take(self, job: Job, removal: Removal) -> Withheld | None:
        """Takes one removal from the budget. None when it is allowed."""


class Lease(Protocol):
    """The right of one worker to work on one user, for a while. holder: by which Redis knows whoever has it."""

    @property
    def holder(self) -> str: ...

    def valid(self) -> bool:
        """False as soon as another worker might have been given the user. Asked before every write; no I/O."""

    def waive(self) -> None:
        """It is not asked for any more: what is sent from now on is to an account that is nobody's."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What reconcile works with, for one target."""

    reader: SourceReader
    target: Target
    links: Links
    guard: Guard
    rewritten: Rewritten

"""What `plan` decides: one operation on one account. Frozen data; `reconcile` carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from config.settings import OperationName
from provisioning.model import Changes, RemoteUser


@dataclass(frozen=True, slots=True)
class LookUp:
    """Not decided yet: look for accounts by these attributes, in order, and ask again."""

    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Create:
    """Make the account."""


@dataclass(frozen=True, slots=True)
class Update:
    """Send changes. adopted: the account, when it was found by matching and is to be linked as well."""

    scim_id: str
    version: str | None
    changes: Changes
    adopted: RemoteUser | None = None


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Set active to false. names: matching attributes that have changed as well, sent along if they can be. others: accounts of
    the same user, by id, which are not to stay active either.
    """

    scim_id: str
    version: str | None
    adopted: RemoteUser | None = None
    names: Changes = field(default_factory=Changes)
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the account for good."""

    scim_id: str


@dataclass(frozen=True, slots=True)
class LinkOnly:
    """The account found is already as it should be: remember it."""

    account: RemoteUser


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to send. reason: a sentence for preview and history. unsure: an account may have been made a moment ago that
    the target's search does not show yet: worth looking again before it is believed.
    """

    reason: str
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not ours to decide: a person has to. wait: worth looking again by itself after a while."""

    reason: str
    wait: bool = False


Operation = Create | Update | Deactivate | Delete | LinkOnly | Nothing | Refuse
Decision = Operation | LookUp

_NAMES: dict[type, OperationName] = {
    LookUp: OperationName.NONE,
    Create: OperationName.CREATE,
    Update: OperationName.UPDATE,
    Deactivate: OperationName.DEACTIVATE,
    Delete: OperationName.DELETE,
    LinkOnly: OperationName.LINK,
    Nothing: OperationName.NONE,
    Refuse: OperationName.NONE,
}


def and_others(others: Sequence[str]) -> str:
    return f"with {len(others)} more of the same user: {', '.join(others)}"


def name_of(operation: Decision) -> OperationName:
    return _NAMES[type(operation)]

"""The words the other modules speak: source users, links, accounts on the target, jobs and results.

All of it is frozen data; what is made for each user and holds no value itself is a tuple, made in a third of the time. Nothing
here does I/O and nothing here is ever written to a log whole: attribute values live in `SourceUser.values`,
`Desired.attributes` and `RemoteUser.resource` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from config.settings import OperationName, Trigger

# A value of a Drupal field as an expression sees it: text, number, boolean, None (missing), a list of those
# for a several-valued field, or a dict column -> value for a field with several columns (a link: uri, title).
FieldValue = Any
# A JSON value as SCIM carries it.
JsonValue = Any
# Of a user, as Drupal writes it; in whatever case, as people and targets do.
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceUser:
    """A Drupal user as read now.

    values: every name an expression may use (DESIGN 5.1): uid, uuid, name, mail, status (bool), roles (sorted list
    without `authenticated`), langcode, timezone, created, changed, access, login (Unix seconds, 0 = never), field_*.
    """

    uid: int
    uuid: str
    values: Mapping[str, FieldValue] = field(repr=False)

    @property
    def active(self) -> bool:
        return bool(self.values["status"])

    @property
    def changed(self) -> int:
        return int(self.values["changed"])


@dataclass(frozen=True, slots=True)
class UserRef:
    """A user named without being read whole: what change detection and listings move."""

    uid: int
    uuid: str
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """How many users there are, and the sum of their uids. Drupal gives every new user a higher uid than anybody ever
    had, so that equal totals mean the same uids.
    """

    count: int = 0
    uids: int = 0


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A Drupal field a mapping can name. columns: the parts reachable as `field_x.part`; empty for a plain value."""

    name: str
    multiple: bool = False
    columns: tuple[str, ...] = ()


class Presence(StrEnum):
    """What Drupal says of a user, as far as a target is concerned."""

    ACTIVE = "active"  # in scope, not blocked
    BLOCKED = "blocked"
    OUT_OF_SCOPE = "out_of_scope"
    GONE = "gone"  # Drupal answered, to an identity we verified, and the user is not there


@dataclass(frozen=True, slots=True)
class Desired:
    """What the mapping makes of a user: SCIM path -> value, absent values left out.

    attributes: sent on create and kept in step after. on_create: sent with a create only.
    """

    attributes: Mapping[str, JsonValue] = field(repr=False)
    on_create: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @property
    def external_id(self) -> str | None:
        value = self.attributes.get("externalId", self.on_create.get("externalId"))
        return None if value is None else str(value)


class Source(NamedTuple):
    """One user's side of a decision. desired: None when presence is GONE, and of a leaver whose fields the mapping cannot make
    an account of; never when it is ACTIVE.
    """

    uuid: str
    presence: Presence
    desired: Desired | None
    fingerprint: str


# Equals no digest.
DOUBT = "?"


class Link(NamedTuple):
    """What we remember of one user on one target: ids and digests, no values (DESIGN 1.4).

    scim_id: the account's id; "" records that the user was looked for and rightly has no account.
    version: the ETag last seen, for If-Match. fingerprint: keyed digest of everything the decision read.
    digests: SCIM path -> short keyed digest of the value last sent, or DOUBT where a request is under way whose answer
    may be lost. active: False after a deactivation. may_be_active: inactive when it was last seen, but that is no deactivation of
    ours: its target made it so, as until an invitation is accepted, or what we sent is in doubt.
    """

    scim_id: str
    version: str | None
    fingerprint: str
    digests: Mapping[str, str]
    active: bool = True
    may_be_active: bool = False

    @property
    def has_account(self) -> bool:
        return bool(self.scim_id)

    @property
    def rightly_absent(self) -> bool:
        """The user was looked for and has no account, and no request has been written down since."""
        return not self.has_account and not self.in_doubt

    @property
    def in_doubt(self) -> bool:
        """A request was written down whose answer was not: the target may have acted on it."""
        return DOUBT in self.digests.values()

    @property
    def content_known(self) -> bool:
        return bool(self.digests) and not self.in_doubt

    def doubting(self, paths: Iterable[str]) -> Link:
        """The link as it is written before a request that sets or removes these paths (DESIGN 1.5)."""
        digests = {**self.digests, **dict.fromkeys(paths, DOUBT)}
        return Link(self.scim_id, self.version, "", digests, self.active, self.may_be_active)

    def unsure(self) -> Link:
        """The link to an account that is to be read before anything is believed of it. Not that we have deactivated it is in doubt:
        whether it is active shows then, and only if it is, it is another removal.
        """
        return self._replace(version=None).doubting(self.digests.keys() - {"active"} or self.digests)


# How servers spell a boolean, in small letters: some send "False", Snipe-IT sent 0.
SPELLED = {True: ("true", "1"), False: ("false", "0")}


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """An account as the target shows it. resource: the SCIM JSON as it came, tolerantly read."""

    scim_id: str
    version: str | None
    resource: Mapping[str, Any] = field(repr=False)

    @property
    def external_id(self) -> str | None:
        value = self.resource.get("externalId")
        return str(value) if value not in {None, ""} else None

    @property
    def active(self) -> bool:
        """RFC 7643 4.1.1; absent counts as active."""
        return str(self.resource.get("active", True)).lower() not in SPELLED[False]


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update sends. set: SCIM path -> new value; removed: paths to take away; added: those of `set` that
    were not on the target before, as far as we know. Only names ever leave here for a log.
    """

    set: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)
    removed: tuple[str, ...] = ()
    added: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.set or self.removed)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.set, *self.removed)


@dataclass(frozen=True, slots=True)
class Removal:
    """What the guard judges and a person approves: an operation on one account. cleared: of an update, the attributes
    it takes away. leaving: of a deactivation or deletion, how the user has left.
    """

    operation: OperationName
    scim_id: str | None
    cleared: frozenset[str] = frozenset()
    leaving: Presence | None = None

    def covers(self, other: Removal) -> bool:
        """Whether having approved this allows the other: the same operation on the same account, and no more."""
        same = (self.operation, self.scim_id) == (other.operation, other.scim_id)
        return same and other.cleared <= self.cleared


class Job(NamedTuple):
    """One user claimed by a worker. permits: for each trigger that asked, the operations it was narrowed to
    (None: all the trigger's own switches allow). generation: grows with every submission of this user.
    attempt: 1 for the first. run_id: the full sync waiting for this user. approved: the removal a person allowed.
    """

    target: str
    user: str
    permits: Mapping[Trigger, frozenset[OperationName] | None]
    generation: int
    attempt: int = 1
    run_id: str | None = None
    approved: Removal | None = None


class OutcomeName(StrEnum):
    """How a piece of work ended (DESIGN 5.2)."""

    DONE = "done"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"
    HELD = "held"
    PENDING = "pending"


class Result(NamedTuple):
    """What happened to one user: ids, names of attributes, status codes. No value of any attribute.

    retry_after_seconds: with outcome PENDING, when to try again. attempt_spent: False for outages and throttling.
    unanswered: the target may still carry out what was sent. silent: nothing came back that is the target's answer. leaving: how the
    user has left, where nothing was done about it. requests: how many were sent to the target.
    """

    target: str
    user: str
    trigger: Trigger
    operation: OperationName
    outcome: OutcomeName
    changes: tuple[str, ...] = ()
    scim_id: str | None = None
    status_code: int | None = None
    scim_type: str | None = None
    detail: str = ""
    attempt: int = 1
    duration_ms: int = 0
    retry_after_seconds: float | None = None
    attempt_spent: bool = True
    unanswered: bool = False
    silent: bool = False
    leaving: Presence | None = None
    requests: int = 0


def allowed_operations(
    permits: Mapping[Trigger, frozenset[OperationName] | None],
    switches: Mapping[Trigger, frozenset[OperationName]],
) -> frozenset[OperationName]:
    """The union of what the triggers that asked for a user may do: each one's switches, narrowed, never widened."""
    allowed: frozenset[OperationName] = frozenset()
    for trigger, narrowed in permits.items():
        switched_on = switches.get(trigger, frozenset())
        allowed |= switched_on if narrowed is None else switched_on & narrowed
    return allowed


RemotePage = Sequence[RemoteUser]

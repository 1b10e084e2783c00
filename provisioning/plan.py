"""The one decision: what to do with one user on one target. Purely computational, no I/O (DESIGN 1.3, 5.4).

A ladder of early returns with the reason above each rung. `plan` may answer LookUp: it then wants to be asked
again with the accounts that were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from config.settings import LeaverPolicy, LeaverSettings
from provisioning.diff import changes_from, changes_since, digest, sent_inactive
from provisioning.mapping import matching_value
from provisioning.model import DOUBT, Changes, Desired, Link, Presence, RemoteUser, Source
from provisioning.operations import (
    Create,
    Deactivate,
    Decision,
    Delete,
    LinkOnly,
    LookUp,
    Nothing,
    Refuse,
    Update,
)


class Holder(StrEnum):
    """Whose an account is, apart from the user being planned."""

    NOBODY = "nobody"  # or the user being planned
    USER = "user"  # another user of the site
    RENAMED = "renamed"  # another user of the site, who has other words by now than the account was found by
    LEFT = "left"  # a user who is gone from the site but whose account we still remember


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that may be this user's: the linked one as read now, or one found by matching."""

    account: RemoteUser
    holder: Holder = Holder.NOBODY


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about a target that a decision depends on. rewritten: attributes the target does not keep as sent."""

    matching: tuple[str, ...]
    adopt: Literal["unclaimed", "always", "never"]
    leavers: LeaverSettings
    mapped: frozenset[str]
    key: bytes
    external_id_is_uuid: bool
    rewritten: frozenset[str] = frozenset()


def leaver_policy(leavers: LeaverSettings, presence: Presence) -> LeaverPolicy:
    return {
        Presence.BLOCKED: leavers.blocked,
        Presence.OUT_OF_SCOPE: leavers.out_of_scope,
        Presence.GONE: leavers.deleted,
    }[presence]


def plan(source: Source, link: Link | None, found: Sequence[Candidate] | None, policy: Policy) -> Decision:
    """Decides. found: None when nobody has looked yet; for a linked user, the account if it was read just now."""
    if source.presence is Presence.ACTIVE:
        return _qualified(source, link, found, policy)
    return _unqualified(source, link, found, policy)


def situation(source: Source, link: Link | None, found: Sequence[Candidate] | None) -> str:
    """The name of the row of DESIGN 5.4 that applies."""
    if source.presence is Presence.GONE:
        return "source_missing"
    if source.presence is not Presence.ACTIVE:
        return "unqualified"
    if link is not None and link.has_account:
        return "confirmed"
    if not found:
        return "absent"
    if len(found) > 1 or _claimed_by_another(found[0], source):
        return "ambiguous"
    return "found"


def _qualified(
    source: Source, link: Link | None, found: Sequence[Candidate] | None, policy: Policy
) -> Decision:
    desired = source.desired
    assert desired is not None, "a user who is there has been rendered"

    # Linked: the digests say what differs, without asking the target; unless it was read anyway.
    if link is not None and link.has_account:
        account = found[0].account if found else None
        changes = _changes(desired, link, account, policy)
        version = account.version if account else link.version
        if not changes:
            return Nothing("the account is as it should be")
        return Update(link.scim_id, version, changes)

    # Never create without having looked: an earlier attempt, or somebody else, may have made the account.
    nameless = link is not None and link.in_doubt and not _findable(source, desired, policy)
    if found is None:
        return LookUp(("userName",) if nameless else policy.matching)

    # By no attribute that accounts are recognised by: a person has to say whose it is.
    if nameless and found:
        return _perhaps_made(found[0].account, "delete it there")

    if not found:
        return Create()

    # Two accounts answer to this user: choosing one would split or merge people.
    if len(found) > 1:
        return Refuse(f"{len(found)} accounts on the target match this user; remove or rename all but one")

    return _adopt(source, desired, link, found[0], policy)


def _adopt(
    source: Source, desired: Desired, link: Link | None, candidate: Candidate, policy: Policy
) -> Decision:
    account = candidate.account
    if (refusal := occupied(candidate, policy)) is not None:
        return refusal

    # It carries somebody else's externalId: a person has to say that it may be taken over.
    if _claimed_by_another(candidate, source) and policy.adopt != "always":
        return Refuse(
            f"the matching account {account.scim_id} has another externalId; if it is this user's, set adopt = "
            '"always" for this target, or clear or correct its externalId there'
        )

    # Nobody has claimed it, and the operator wants no account taken over by its name alone.
    if account.external_id is None and policy.adopt == "never":
        return Refuse(
            f'account {account.scim_id} matches, but adopt = "never"; give it this user\'s externalId or allow adoption'
        )

    changes = _changes(desired, link, account, policy)
    if not changes:
        return LinkOnly(account)
    return Update(account.scim_id, account.version, changes, adopted=account)


def occupied(candidate: Candidate, policy: Policy) -> Refuse | None:
    """Why an account that has what a user is to get cannot give it up, or not yet. None: no other user stands in the way."""
    account = candidate.account

    # The account is another Drupal user's: never taken, whatever the policy.
    if candidate.holder is Holder.USER:
        return Refuse(
            f"the matching account {account.scim_id} belongs to another Drupal user; give one of the two another name"
        )

    # That user has given the name up, and the account follows: the name will be free in a moment.
    if candidate.holder is Holder.RENAMED:
        return Refuse(
            f"the matching account {account.scim_id} is of a Drupal user who has another name by now, and has still to follow",
            wait=True,
        )

    # Its user has left and the account is about to be deleted: the name will be free in a moment.
    if candidate.holder is Holder.LEFT and policy.leavers.deleted is LeaverPolicy.DELETE:
        return Refuse(
            f"the matching account {account.scim_id} is of a user who has left and waits to be deleted",
            wait=True,
        )
    return None


def _unqualified(
    source: Source, link: Link | None, found: Sequence[Candidate] | None, policy: Policy
) -> Decision:
    # Looked for before, by the config as it is, and rightly without an account.
    if link is not None and link.rightly_absent and link.fingerprint == source.fingerprint:
        return Nothing("no account, and none is due")

    if link is not None and link.has_account:
        return _leave(source, link, found[0].account if found else None, policy)

    # Links may have been lost, or the answer to a create: an account that carries this user's externalId is still ours. Any other match is
    # not: a name alone never deactivates or deletes anybody.
    external_id = claimed_id(source, policy)
    unsure = link is not None and link.in_doubt
    # Of a user who is gone there is nothing else to look by, whatever accounts are matched by; but not where none was due.
    perhaps_left = source.presence is Presence.GONE and (link is None or unsure)
    searched = "externalId" in policy.matching or perhaps_left
    if not unsure and (external_id is None or not searched):
        return Nothing("no account is known, and none is due")
    # Some targets' search does not see externalId: what a create may have made is looked for by all there is.
    if found is None:
        by_id = ("externalId",) if external_id is not None and searched else ()
        everything = tuple(dict.fromkeys((*policy.matching, *by_id, "userName")))
        return LookUp(everything if unsure else ("externalId",))
    # Nor is one that is another Drupal user's, who has the same externalId.
    nobodys = [each.account for each in found if each.holder in {Holder.NOBODY, Holder.LEFT}]
    ours = [account for account in nobodys if external_id and account.external_id == external_id]
    # The answer to a create was lost, and what it made may not be found yet, or not be told from anybody else's.
    if not ours:
        if unsure and (refusal := _perhaps_theirs(source, nobodys, policy)) is not None:
            return refusal
        return Nothing("no account, and none is due", unsure=unsure)
    if len(ours) > 1:
        return _leave_several(source, link, ours, policy)
    if not policy.external_id_is_uuid and not _has_name_of(source, ours[0]):
        return Refuse(
            f"account {ours[0].scim_id} has this user's externalId but another userName; if it is this user's, rename it there, "
            "else give one of the two users another externalId"
        )
    return _leave(source, link, ours[0], policy)


def _leave_several(
    source: Source, link: Link | None, accounts: Sequence[RemoteUser], policy: Policy
) -> Decision:
    """Of a leaver with several accounts, all of which carry the uuid, none stays active. Which one is to be deleted a person has
    to say.
    """
    leaver = leaver_policy(policy.leavers, source.presence)
    if leaver is LeaverPolicy.KEEP:
        return Nothing("leavers of this kind keep their accounts")
    if leaver is LeaverPolicy.DELETE or not policy.external_id_is_uuid:
        return Refuse(
            f"{len(accounts)} accounts on the target carry this user's externalId; remove all but one"
        )
    active = [account for account in accounts if account.active]
    if not active:
        return Nothing(f"none of the {len(accounts)} accounts of this user is active")
    first, *others = active
    decision = _leave(source, link, first, policy)
    assert isinstance(decision, Deactivate), "an active account, where leavers are deactivated"
    return replace(decision, others=tuple(account.scim_id for account in others))


def _perhaps_theirs(source: Source, accounts: Sequence[RemoteUser], policy: Policy) -> Refuse | None:
    """Of accounts that match a user who left before a create was answered. A person has to say what nothing on the account does,
    unless it would not have been taken for this user's anyway.
    """
    if policy.adopt == "never" or leaver_policy(policy.leavers, source.presence) is LeaverPolicy.KEEP:
        return None
    perhaps = (account for account in accounts if account.external_id is None and account.active)
    return next((_perhaps_made(account, "deactivate it there") for account in perhaps), None)


def _perhaps_made(account: RemoteUser, remedy: str) -> Refuse:
    return Refuse(
        f"account {account.scim_id} matches this user and may be what a create made whose answer was lost, but has no externalId "
        f"that says so; if it is this user's, {remedy}, else give it an externalId of its own"
    )


def _findable(source: Source, desired: Desired, policy: Policy) -> bool:
    """Whether the user has any of the values that accounts are looked for by."""
    return any(
        claimed_id(source, policy) if attribute == "externalId" else matching_value(desired, attribute)
        for attribute in policy.matching
    )


def _has_name_of(source: Source, account: RemoteUser) -> bool:
    """Two users may have the same externalId where it is not the uuid, and one of them may be active; no two have a userName."""
    desired = source.desired
    assert desired is not None, "without one nothing is claimed by an externalId that is not the uuid"
    wanted = desired.attributes.get("userName", desired.on_create.get("userName"))
    return str(account.resource.get("userName")).casefold() == str(wanted).casefold()


def _leave(source: Source, link: Link | None, account: RemoteUser | None, policy: Policy) -> Decision:
    """account: as read now, or as found by matching when none is linked."""
    known = account or link
    assert known is not None, "only an account that is there is left"
    leaver = leaver_policy(policy.leavers, source.presence)
    adopted = account if link is None or not link.has_account else None
    if leaver is LeaverPolicy.KEEP:
        return LinkOnly(adopted) if adopted else Nothing("leavers of this kind keep their account")
    if leaver is LeaverPolicy.DELETE:
        return Delete(known.scim_id)

    # A name that a blocked user has given up is free in Drupal: their account must not keep it from the next one.
    names = _changed_names(source, link, account, policy)
    if not _inactive(link, account, policy.key):
        return Deactivate(known.scim_id, known.version, adopted, names)
    if names:
        return Update(known.scim_id, known.version, names, adopted)
    return LinkOnly(adopted) if adopted else Nothing("the account is deactivated already")


def removes(presence: Presence, link: Link, leavers: LeaverSettings, key: bytes) -> bool:
    """Whether a linked user who leaves like this will be a removal, as far as is known without asking the target."""
    leaver = leaver_policy(leavers, presence)
    if leaver is LeaverPolicy.KEEP or not link.has_account:
        return False
    return leaver is LeaverPolicy.DELETE or not _inactive(link, None, key)


def _inactive(link: Link | None, account: RemoteUser | None, key: bytes) -> bool:
    """Only a deactivation of ours is believed: what its target made inactive, as until an invitation is accepted, may be active
    by tomorrow. Of an account of which nothing is known what is seen is.
    """
    if link is None or not link.digests:
        return account is not None and not account.active
    return sent_inactive(link.digests, key) and not (account or link).active


def _changed_names(source: Source, link: Link | None, account: RemoteUser | None, policy: Policy) -> Changes:
    if source.desired is None:
        return Changes()
    changes = _changes(source.desired, link, account, policy)
    names = {path: value for path, value in changes.set.items() if path in policy.matching}
    return Changes(names, added=changes.added.intersection(names))


def claimed_id(source: Source, policy: Policy) -> str | None:
    """The externalId this user's account carries; of a user who is gone it is known only if it is the uuid."""
    if source.desired is not None:
        return source.desired.external_id
    return source.uuid if policy.external_id_is_uuid else None


def _claimed_by_another(candidate: Candidate, source: Source) -> bool:
    if candidate.holder is not Holder.NOBODY:
        return True
    theirs = candidate.account.external_id
    ours = source.desired.external_id if source.desired else None
    return theirs is not None and theirs != ours


def _changes(desired: Desired, link: Link | None, account: RemoteUser | None, policy: Policy) -> Changes:
    if account is None:
        assert link is not None, "without an account there is a link"
        return changes_since(link, desired, policy.mapped, policy.key)
    sent = dict(link.digests) if link is not None else {}
    # What the target does not keep as sent would be sent each time; but not what was never sent, or never answered.
    settled = {
        path
        for path in policy.rewritten & sent.keys()
        if sent[path] == digest(desired.attributes.get(path), policy.key)
    }
    if not sent and account.external_id is not None and account.external_id == desired.external_id:
        # It says that it is ours, and we have forgotten what we set: what is mapped, then.
        sent |= dict.fromkeys(sorted(policy.mapped - sent.keys()), DOUBT)
    return changes_from(account.resource, desired, policy.mapped - settled, sent)

"""`sync --verify`: reads the target as well, so that drift is repaired and orphans are put before a person.

It changes nothing on the target. A link whose account has drifted forgets what it knew; the full sync that follows
submits such users, and the worker reads the account and compares. So it does for a user with an account that is not the
one linked: whoever has left is removed there, too, and two accounts of one user who is there become a dead letter. Orphans are
held (DESIGN 5.4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from config.settings import LeaverPolicy, OperationName, TargetSettings, Trigger
from provisioning.diff import changes_from
from provisioning.errors import Throttled
from provisioning.expressions import EvaluationError
from provisioning.finding import still_there
from provisioning.mapping import CompiledTarget
from provisioning.model import UUID, Link, Presence, RemoteUser, Removal, SourceUser
from provisioning.ports import SourceReader, Target
from state.same_site import SameSite
from state.target_state import TargetState

READ = 500


@dataclass(frozen=True, slots=True)
class Verified:
    """accounts: how many the target has. drifted: users whose account is not as it was left. missing: users whose
    account is gone. unlinked: users with an account they are not linked to. orphans: accounts with an externalId that no Drupal
    user has, and none of whom we know; held: those of them put before a person now.
    """

    accounts: int
    drifted: tuple[str, ...]
    missing: tuple[str, ...]
    unlinked: tuple[str, ...]
    orphans: int
    held: int


class _Stranger(NamedTuple):
    """An account that nobody is linked to."""

    scim_id: str
    active: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification of one target. Raises SourceUnreadable and what the target raises; a listing that is not
    whole changes nothing. Of the accounts no more is kept than their ids, whatever their number.
    """

    settings: TargetSettings
    state: TargetState
    compiled: CompiledTarget
    reader: SourceReader
    same_site: SameSite
    target: Target
    key: bytes

    async def run(self) -> Verified:
        await self.reader.verify()
        await self.same_site.settle(somebody_gone=True)
        listed: set[str] = set()
        drifted: list[str] = []
        strangers: dict[str, _Stranger] = {}
        async for page in self.target.listing():
            linked, others = await self._told_apart(page)
            drifted += await self._drifted(linked)
            for each in others:
                # Of several that say they are one user's an active one counts.
                known = strangers.get(each.external_id or "")
                if each.external_id and (known is None or not known.active):
                    strangers[each.external_id] = _Stranger(each.scim_id, each.active)
            listed.update(account.scim_id for account in page)
        missing = await self._missing(listed)
        await self.state.links.doubt([*drifted, *missing])
        orphans, unlinked = await self._sorted_out(strangers)
        return Verified(
            len(listed), tuple(drifted), tuple(missing), unlinked, len(orphans), await self._hold(orphans)
        )

    async def _told_apart(
        self, page: Sequence[RemoteUser]
    ) -> tuple[Sequence[tuple[RemoteUser, str, Link]], Sequence[RemoteUser]]:
        """Accounts that are linked, with their user and link, and the others."""
        owners = await self.state.links.owners([account.scim_id for account in page])
        links = await self.state.links.get_many(list(owners.values()))
        linked, others = [], []
        for account in page:
            user = owners.get(account.scim_id, "")
            link = links.get(user)
            if link is not None and link.scim_id == account.scim_id:
                linked.append((account, user, link))
            else:
                others.append(account)
        return linked, others

    async def _missing(self, listed: Collection[str]) -> Sequence[str]:
        found: set[str] = set()
        async for page in self.state.links.scan():
            found |= {user for user, link in page.items() if link.has_account and link.scim_id not in listed}
        return sorted(found)

    async def _sorted_out(
        self, strangers: Mapping[str, _Stranger]
    ) -> tuple[Mapping[str, _Stranger], tuple[str, ...]]:
        """Orphans, and users who were unlinked. Whoever has been linked since to the account that was listed is neither."""
        # Only where the externalId is the uuid can Drupal be asked whose it is; an account with any other one is another tool's.
        orphans: dict[str, _Stranger] = {}
        known: list[str] = []
        ids = [each for each in strangers if self.compiled.external_id_is_uuid and UUID.fullmatch(each)]
        for start in range(0, len(ids), READ):
            page = ids[start : start + READ]
            links = await self.state.links.get_many(page)
            there = await self.reader.present(page)
            # Of somebody who has a link, as of a create whose answer was lost, it is no orphan: they are leavers like others.
            orphans |= {each: strangers[each] for each in page if each not in there and each not in links}
            known += links
        unlinked = await self.state.links.change(known, partial(self._matched_anew, strangers))
        return orphans, tuple(unlinked)

    def _matched_anew(self, strangers: Mapping[str, _Stranger], user: str, link: Link) -> Link | None:
        """Of users who have an account they are not linked to, but those who are just being made one. Their link stays, in doubt:
        without one, workers could believe an older listing that there is no account.
        """
        other, leavers = strangers[user], self.settings.leavers
        if link.scim_id == other.scim_id or (link.in_doubt and not link.has_account):
            return None
        deletes = LeaverPolicy.DELETE in {leavers.blocked, leavers.out_of_scope, leavers.deleted}
        if link.has_account and not (link.active or other.active or deletes):
            # A leaver's: nothing is to be done, and what we know is worth more.
            return None
        return Link("", None, fingerprint="", digests={}, active=False).doubting(self.compiled.mapped)

    async def _drifted(self, linked: Sequence[tuple[RemoteUser, str, Link]]) -> Sequence[str]:
        users = await self.reader.read([user for _, user, _ in linked])
        mapped = self.compiled.mapped - await self.state.rewritten.names()
        return [
            user
            for account, user, link in linked
            if self._has_drifted(account, link, users.get(user), mapped)
        ]

    def _has_drifted(
        self, account: RemoteUser, link: Link, user: SourceUser | None, mapped: frozenset[str]
    ) -> bool:
        try:
            source = self.compiled.source("", user, self.key)
        except EvaluationError:
            return False
        if source.presence is not Presence.ACTIVE or source.desired is None:
            # Some leave it out where it is false, others always: that proves nothing.
            return account.resource.get("active") is not None and account.active != link.active
        return bool(changes_from(account.resource, source.desired, mapped, link.digests))

    async def _hold(self, orphans: Mapping[str, _Stranger]) -> int:
        policy = self.settings.leavers.deleted
        if policy is LeaverPolicy.KEEP:
            return 0
        operation = OperationName.DELETE if policy is LeaverPolicy.DELETE else OperationName.DEACTIVATE
        told = {
            user: Removal(operation, account.scim_id, leaving=Presence.GONE)
            for user, account in orphans.items()
            if account.active or operation is OperationName.DELETE
        }
        asked = {(each.user, each.operation, each.scim_id) for each in await self.state.ledger.held()}
        same = {user for user, each in told.items() if (user, each.operation, each.scim_id) in asked}
        known = await self.state.guard.rejected(told) | same
        held, asking = 0, True
        for external_id in sorted(told.keys() - known):
            account = orphans[external_id]
            # A long listing is old when it ends: its user may have left meanwhile, and the account been removed.
            try:
                if asking and not await still_there(self.target, account.scim_id):
                    continue
            except Throttled:
                # A person is asked about more than there is, then.
                asking = False
            entry = {
                "target": self.state.target,
                "operation": operation.value,
                "scim_id": account.scim_id,
                "leaving": Presence.GONE.value,
                "detail": "orphan: no Drupal user has this account's externalId",
            }
            held += await self.state.ledger.hold(external_id, entry, Trigger.MANUAL)
        return held

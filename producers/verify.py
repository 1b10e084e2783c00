"""`sync --verify`: reads the target as well, so that drift is repaired and orphans are put before a person.

It changes nothing on the target. A link whose account has drifted forgets what it knew; the full sync that follows
submits such users, and the worker reads the account and compares. So it does for a user with an account that is not the
one linked: whoever has left is removed there, too, and two accounts of one user become a dead letter. Orphans are held
(DESIGN 5.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.settings import LeaverPolicy, OperationName, TargetSettings, Trigger
from provisioning.diff import changes_from
from provisioning.errors import Missing, ProvisioningError
from provisioning.expressions import EvaluationError
from provisioning.mapping import CompiledTarget
from provisioning.model import Link, Presence, RemoteUser, SourceUser
from provisioning.ports import SourceReader, Target
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


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification of one target. Raises SourceUnreadable and what the target raises; a listing that is not
    whole changes nothing.
    """

    settings: TargetSettings
    state: TargetState
    compiled: CompiledTarget
    reader: SourceReader
    target: Target
    key: bytes

    async def run(self) -> Verified:
        await self.reader.verify()
        accounts = [account async for page in self.target.listing() for account in page]
        by_user = await self._links()
        links = {link.scim_id: (user, link) for user, link in by_user.items() if link.has_account}
        drifted: list[str] = []
        strangers: dict[str, RemoteUser] = {}
        for start in range(0, len(accounts), READ):
            page = accounts[start : start + READ]
            drifted += await self._drifted(page, links)
            strangers |= {
                account.external_id: account
                for account in page
                if account.scim_id not in links and account.external_id is not None
            }
        listed = {account.scim_id for account in accounts}
        missing = [user for scim_id, (user, _) in links.items() if scim_id not in listed]
        for user in [*drifted, *missing]:
            link = by_user[user]._replace(version=None)
            # Not that we have deactivated it: whether it is active shows when it is read, and only then is it another removal.
            doubtful = link.digests.keys() - {"active"} or link.digests
            await self.state.links.put(user, link.doubting(doubtful))
        orphans = await self._orphans(
            {user: account for user, account in strangers.items() if user not in by_user}
        )
        held = await self._hold(orphans)
        unlinked = await self._forget([each for each in strangers if each not in orphans], by_user)
        return Verified(len(accounts), tuple(drifted), tuple(missing), unlinked, len(orphans), held)

    async def _links(self) -> Mapping[str, Link]:
        found: dict[str, Link] = {}
        async for page in self.state.links.scan():
            found |= page
        return found

    async def _forget(self, users: Sequence[str], links: Mapping[str, Link]) -> tuple[str, ...]:
        """Users who have an account they are not linked to are matched anew, but those who are just being made one. Their
        link stays, in doubt: without one, workers could believe an older listing that there is no account.
        """
        if not self.compiled.external_id_is_uuid:
            return ()
        known = {user: links[user] for user in users if user in links and not links[user].in_doubt}
        for user, link in known.items():
            unsure = Link("", None, fingerprint="", digests={}, active=False).doubting(self.compiled.mapped)
            await self.state.links.put(user, unsure, instead_of=link.scim_id)
        return tuple(known)

    async def _drifted(
        self, page: Sequence[RemoteUser], links: Mapping[str, tuple[str, Link]]
    ) -> Sequence[str]:
        linked = [(account, *links[account.scim_id]) for account in page if account.scim_id in links]
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

    async def _orphans(self, strangers: Mapping[str, RemoteUser]) -> Mapping[str, RemoteUser]:
        # Only where the externalId is the uuid can Drupal be asked whose it is. strangers: without those who have a link, as of a
        # create whose answer was lost: they are leavers like others.
        if not self.compiled.external_id_is_uuid:
            return {}
        orphans: dict[str, RemoteUser] = {}
        ids = list(strangers)
        for start in range(0, len(ids), READ):
            page = ids[start : start + READ]
            there = await self.reader.read(page)
            orphans |= {each: strangers[each] for each in page if each not in there}
        return orphans

    async def _hold(self, orphans: Mapping[str, RemoteUser]) -> int:
        policy = self.settings.leavers.deleted
        if policy is LeaverPolicy.KEEP:
            return 0
        operation = OperationName.DELETE if policy is LeaverPolicy.DELETE else OperationName.DEACTIVATE
        held = 0
        for external_id, account in orphans.items():
            if operation is OperationName.DEACTIVATE and not account.active:
                continue
            if not await self._still_there(account):
                continue
            entry = {
                "target": self.state.target,
                "operation": operation.value,
                "scim_id": account.scim_id,
                "leaving": Presence.GONE.value,
                "detail": "orphan: no Drupal user has this account's externalId",
            }
            held += await self.state.ledger.hold(external_id, entry, Trigger.MANUAL)
        return held

    async def _still_there(self, account: RemoteUser) -> bool:
        """A long listing is old when it ends: its user may have left meanwhile, and the account been removed."""
        try:
            await self.target.get(account.scim_id)
        except Missing:
            return False
        except ProvisioningError:
            # As far as is known; a person looks at it, and so does the worker.
            pass
        return True

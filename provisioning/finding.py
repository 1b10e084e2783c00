"""Finding the account of a user who is not linked, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from provisioning.errors import Missing, Permanent, Transient
from provisioning.expressions import EvaluationError
from provisioning.mapping import CompiledTarget, matching_value
from provisioning.model import Presence, RemoteUser, Source, SourceUser
from provisioning.plan import Candidate, Holder, Policy, claimed_id
from provisioning.ports import Ports, Target


@dataclass(slots=True)
class Finder:
    """Looks for one user's account by the matching attributes, in order; the first that finds any decides.

    untried: no request for this user was ever written down, or none that is not settled, so look-ups the target says are
    needless are left out.
    left_out: some were.
    """

    ports: Ports
    compiled: CompiledTarget
    source: Source
    untried: bool = False
    left_out: bool = False

    async def look_up(self, attributes: Sequence[str], policy: Policy) -> Sequence[Candidate]:
        """Asks the target's search. Empty when no attribute finds an account."""
        return (await self.look_up_by(attributes, policy))[0]

    async def look_up_by(self, attributes: Sequence[str], policy: Policy) -> tuple[Sequence[Candidate], str]:
        """Like look_up, with the attribute that found them; "" when none did."""
        for attribute in attributes:
            value = self._value(attribute, policy)
            if value is None:
                continue
            if not await self._needed(attribute, value):
                self.left_out = True
                continue
            accounts = await self.ports.target.find(attribute, value, certain=self._in_earnest)
            if found := await self._candidates(accounts, attribute, value):
                return found, attribute
        return (), ""

    async def look_in_listing(self, policy: Policy) -> Sequence[Candidate]:
        """Reads every account instead of asking the search."""
        for attribute in policy.matching:
            value = self._value(attribute, policy)
            if value is None:
                continue
            accounts = await self.ports.target.find_in_listing(attribute, value)
            if found := await self._candidates(accounts, attribute, value):
                return found
        return ()

    async def has_other_owner(self, account: RemoteUser) -> bool:
        """Whether the account under the id of this user's link says that it is another user's, who is there: some targets give an
        id again, after a deletion or from a backup.
        """
        uuid = account.external_id
        if not self.compiled.external_id_is_uuid or uuid is None or uuid.lower() == self.source.uuid.lower():
            return False
        return bool(await self.ports.reader.present([uuid]))

    @property
    def _in_earnest(self) -> bool:
        """Nobody will contradict it when no account is found: no create follows, or what it makes would be a second account."""
        return not self.untried or self.source.presence is not Presence.ACTIVE

    async def _needed(self, attribute: str, value: str) -> bool:
        if not self.untried:
            return True
        creating = self.source.presence is Presence.ACTIVE
        return await self.ports.target.needs_look_up(attribute, value, creating=creating)

    def _value(self, attribute: str, policy: Policy) -> str | None:
        if attribute == "externalId":
            return claimed_id(self.source, policy)
        return matching_value(self.source.desired, attribute) if self.source.desired else None

    async def _candidates(
        self, accounts: Sequence[RemoteUser], attribute: str, value: str
    ) -> Sequence[Candidate]:
        candidates = [await self._candidate(account, attribute, value) for account in accounts]
        return [candidate for candidate in candidates if candidate is not None]

    async def _candidate(self, account: RemoteUser, attribute: str, value: str) -> Candidate | None:
        """None: the account is not there any more. It was found by this value."""
        owner = await self.ports.links.owner(account.scim_id)
        if owner is not None and owner != self.source.uuid:
            return Candidate(account, await self._holder(owner, attribute, value))
        external_id = account.external_id
        ours = self.source.desired.external_id if self.source.desired else self.source.uuid
        if external_id is not None and external_id == ours and await self._has_anothers_name(account):
            return Candidate(account, Holder.USER)
        if external_id is None or external_id == ours:
            return Candidate(account)
        if self.compiled.external_id_is_uuid:
            holder = await self._holder(external_id, attribute, value)
            if holder is not Holder.LEFT:
                return Candidate(account, holder)
        # Between finding the account of a user who left and asking whose it is, it may have been deleted and forgotten.
        return Candidate(account) if await still_there(self.ports.target, account.scim_id) else None

    async def _has_anothers_name(self, account: RemoteUser) -> bool:
        """Two active users may have one externalId where it is not the uuid, by a slip of the pen; the userName tells whose the
        account is. Of a leaver `plan` asks for the name in any case.
        """
        desired, name = self.source.desired, str(account.resource.get("userName") or "")
        if (
            self.compiled.external_id_is_uuid
            or self.source.presence is not Presence.ACTIVE
            or desired is None
        ):
            return False
        if not name or (matching_value(desired, "userName") or "").casefold() == name.casefold():
            return False
        return any(
            user.active and user.uuid != self.source.uuid and self._fits(user, name, desired.external_id)
            for user in await self.ports.reader.search(name)
        )

    def _fits(self, user: SourceUser, name: str, external_id: str | None) -> bool:
        with suppress(EvaluationError):
            desired = self.compiled.render(user)
            held = matching_value(desired, "userName") or ""
            return desired.external_id == external_id and held.casefold() == name.casefold()
        return False

    async def _holder(self, uuid: str, attribute: str, value: str) -> Holder:
        """Of an account that is not ours: what its user is to Drupal by now."""
        user = (await self.ports.reader.read([uuid])).get(uuid)
        if user is None:
            return Holder.LEFT
        try:
            desired = self.compiled.render(user)
        except EvaluationError:
            return Holder.USER
        held = matching_value(desired, attribute)
        follows = attribute in self.compiled.mapped
        return Holder.RENAMED if follows and (held or "").casefold() != value.casefold() else Holder.USER


async def still_there(target: Target, scim_id: str) -> bool:
    """Whether an account that was found, or listed, a while ago is still there. One that cannot be read was found all the same."""
    with suppress(Permanent, Transient):
        try:
            await target.get(scim_id)
        except Missing:
            return False
    return True

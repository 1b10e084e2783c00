"""Carrying out one decision: the switches, the guard, one request, the link, and what happened as a Result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from config.settings import SWITCHABLE, OperationName
from provisioning import operations as op
from provisioning.diff import not_kept
from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Permanent,
    ProvisioningError,
    Superseded,
    Transient,
)
from provisioning.linking import Linking, taken
from provisioning.mapping import new_resource
from provisioning.model import (
    Changes,
    Desired,
    Job,
    OutcomeName,
    Presence,
    RemoteUser,
    Removal,
    Result,
    Source,
)
from provisioning.ports import Lease, Ports, Withheld
from provisioning.reporting import Reporter

WAIT_SECONDS = 5.0
# Later ones come long enough after the request whose answer was lost (provisioning.retry).
UNSURE_ATTEMPTS = 2
# After these a leaver's account is deactivated without the name that the user has now.
NAMED_ATTEMPTS = 2


class LeaseLostError(Exception):
    """Another worker may have been given this user: nothing more may be written by this one."""


@dataclass(frozen=True, slots=True)
class Applying:
    """Acts for one user. Everything it sends is asked of the lease first."""

    ports: Ports
    reporter: Reporter
    job: Job
    source: Source
    linking: Linking
    lease: Lease

    async def carry_out(self, operation: op.Operation, seen: RemoteUser | None) -> Result:
        """seen: the account as it was just read, if it was. Raises LeaseLostError and provisioning.errors."""
        name = op.name_of(operation)
        if name in SWITCHABLE and name not in self.reporter.allowed():
            return self.reporter.report(name, OutcomeName.SKIPPED, detail=self.reporter.switched_off(name))
        match operation:
            case op.Refuse(reason, wait=True):
                return self._wait(reason)
            case op.Refuse(reason):
                return self.reporter.report(name, OutcomeName.FAILED, detail=reason)
            case op.Nothing(unsure=True) if self.job.attempt <= UNSURE_ATTEMPTS:
                return self._wait(
                    "an account may have been made that is not found yet; it is looked for again"
                )
            case op.Nothing(reason):
                return await self._nothing(reason, seen)
            case op.LinkOnly(account):
                return await self._link_only(account)
            case op.Create():
                return await self._create()
            case op.Update():
                return await self._update(operation)
            case op.Deactivate() | op.Delete():
                return await self._remove(operation)

    def _wait(self, reason: str) -> Result:
        waiting = Transient(reason, retry_after_seconds=WAIT_SECONDS)
        return self.reporter.failure(OperationName.NONE, waiting)

    async def _nothing(self, reason: str, seen: RemoteUser | None) -> Result:
        link = self.linking.link
        leaving = None if self.source.presence is Presence.ACTIVE else self.source.presence
        if link is None or not link.has_account:
            await self.linking.remember_absence()
            return self.reporter.report(
                OperationName.NONE, OutcomeName.UNCHANGED, detail=reason, leaving=leaving
            )
        if link.fingerprint != self.source.fingerprint or not link.content_known:
            active = seen.active if seen else link.active
            await self.linking.remember(link.scim_id, link.version, active=active)
        return self.reporter.report(
            OperationName.NONE, OutcomeName.UNCHANGED, detail=reason, scim_id=link.scim_id, leaving=leaving
        )

    async def _link_only(self, account: RemoteUser) -> Result:
        await self._claim(account)
        await self.linking.remember(account.scim_id, account.version, active=account.active)
        detail = "found on the target, already as it should be"
        return self.reporter.report(
            OperationName.LINK, OutcomeName.DONE, detail=detail, scim_id=account.scim_id
        )

    async def _claim(self, account: RemoteUser) -> None:
        """`plan` has allowed to take it from a former user, whose claim is given up first. Not from one who is there and has
        claimed it since it was found.
        """
        owner = await self.ports.links.owner(account.scim_id)
        if owner is not None and owner != self.linking.user and not await self.ports.reader.present([owner]):
            await self.ports.links.drop(owner, account.scim_id)
        await self.linking.claim(account)

    async def _create(self) -> Result:
        desired = self._desired()
        sent = {**desired.attributes, **desired.on_create}
        await self.linking.doubt_create(desired.attributes)
        self._still_ours()
        resource = new_resource(desired)
        account = await self.ports.target.create(resource)
        # Nearly every target shows the account as it was sent.
        as_sent = resource.items() <= account.resource.items()
        if not await self.linking.remember_made(account):
            return await self._undo_create(account)
        detail = "" if as_sent else await self._note_rewritten(account.scim_id, sent, account)
        return self.reporter.report(
            OperationName.CREATE,
            OutcomeName.DONE,
            detail=detail,
            scim_id=account.scim_id,
            changes=tuple(sent),
        )

    async def _undo_create(self, account: RemoteUser) -> Result:
        """Two workers made an account for this user at once, which takes a Redis that lost its leases. The other one's
        stays; this one's is nobody's yet, unless the target gave us the id of an account that another user has.
        """
        owner = await self.ports.links.owner(account.scim_id)
        if owner == self.linking.user:
            # Whoever has the user now has found the account, and may have changed it since.
            raise LeaseLostError
        if owner is not None:
            # Most likely theirs is gone, and its id was given again: nothing more is sent to it unseen.
            await self.linking.doubt_other(owner)
            raise taken(account.scim_id)
        self.lease.waive()
        await self.ports.target.delete(account.scim_id)
        raise Transient("another worker made this user's account at the same moment; this one was taken back")

    async def _update(self, operation: op.Update) -> Result:
        changes, withheld = operation.changes, None
        if changes.removed:
            removal = Removal(OperationName.UPDATE, operation.scim_id, frozenset(changes.removed))
            withheld = await self.ports.guard.take(self.job, removal)
        if operation.adopted is not None:
            await self._claim(operation.adopted)
        if withheld is None:
            detail = await self._send(operation, changes)
            return self.reporter.report(
                OperationName.UPDATE,
                OutcomeName.DONE,
                detail=detail,
                scim_id=operation.scim_id,
                changes=changes.names,
            )
        # What takes nothing away goes on; the rest waits for a person.
        rest = replace(changes, removed=())
        if rest:
            await self._send(operation, rest, kept=changes.removed)
        return self._withheld(OperationName.UPDATE, withheld, operation.scim_id, changes.removed)

    async def _send(self, operation: op.Update, changes: Changes, kept: Sequence[str] = ()) -> str:
        """kept: attributes that stay on the account though the user has no value any more."""
        answer = await self._request(operation, changes)
        version = answer.version if answer else None
        if self.source.presence is not Presence.ACTIVE:
            await self.linking.remember_left(operation.scim_id, version, changes.set)
        elif kept:
            await self.linking.remember_part(operation.scim_id, version, kept)
        else:
            await self.linking.remember(operation.scim_id, version, active=True)
        return await self._note_rewritten(operation.scim_id, changes.set, answer, changes.removed)

    def _withheld(
        self,
        name: OperationName,
        withheld: Withheld,
        scim_id: str,
        cleared: tuple[str, ...] = (),
        leaving: Presence | None = None,
    ) -> Result:
        outcome = OutcomeName.SKIPPED if withheld.rejected else OutcomeName.HELD
        return self.reporter.report(
            name, outcome, detail=withheld.reason, scim_id=scim_id, changes=cleared, leaving=leaving
        )

    async def _remove(self, operation: op.Deactivate | op.Delete) -> Result:
        name, leaving, approved = op.name_of(operation), self.source.presence, self.job.approved
        others = operation.others if isinstance(operation, op.Deactivate) else ()
        # Any of them stood for all when a person was asked.
        asked = approved.scim_id if approved and approved.scim_id in others else operation.scim_id
        withheld = await self.ports.guard.take(self.job, Removal(name, asked, leaving=leaving))
        detail = op.and_others(others) if others else ""
        if withheld is not None:
            told = replace(withheld, reason=f"{withheld.reason}; {detail}") if others else withheld
            return self._withheld(name, told, operation.scim_id, leaving=leaving)
        if isinstance(operation, op.Delete):
            # A user may be back, from a backup say, before it is known whether the account went.
            await self.linking.doubt(("active",))
            self._still_ours()
            await self.ports.target.delete(operation.scim_id)
            await self.linking.remember_absence()
            return self.reporter.report(name, OutcomeName.DONE, scim_id=operation.scim_id)
        await self._deactivate_others(operation)
        if operation.adopted is not None:
            await self._claim(operation.adopted)
        changes = await self._deactivate(operation)
        return self.reporter.report(
            name, OutcomeName.DONE, detail=detail, scim_id=operation.scim_id, changes=changes.names
        )

    async def _deactivate_others(self, operation: op.Deactivate) -> None:
        """Before the link says that the user's account is deactivated. One that cannot be keeps none of the rest active."""
        failed: Permanent | Transient | None = None
        for scim_id in operation.others:
            error = await self._deactivate_other(scim_id)
            # One without an answer is what has to be waited for.
            failed = error if failed is None or isinstance(error, AmbiguousWrite) else failed
        if failed is not None:
            await self._deactivate_other(operation.scim_id)
            raise failed

    async def _deactivate_other(self, scim_id: str) -> Permanent | Transient | None:
        """Whatever else has changed there. Why it could not be."""
        self._still_ours()
        try:
            _refuse_active(
                await self.ports.target.update(scim_id, Changes({"active": False}), self.source.desired, None)
            )
        except Missing:
            # A proxy without its target says so of everybody (raises Outage then).
            await self.ports.target.probe()
        except (Conflict, Superseded) as error:
            return Transient(error.detail, status_code=error.status_code)
        except (Permanent, Transient) as error:
            return error
        return None

    async def _deactivate(self, operation: op.Deactivate) -> Changes:
        """What was sent. A name that is refused, or that the target does not answer to, keeps nobody's account active: it is sent
        again without. Not at once after a request without an answer, which may be carried out later.
        """
        bare = Changes({"active": False})
        named = Changes({**bare.set, **operation.names.set}, added=operation.names.added)
        allowed = OperationName.UPDATE in self.reporter.allowed()
        if operation.names and allowed and self.job.attempt <= NAMED_ATTEMPTS:
            try:
                await self._send_deactivation(operation, named)
                return named
            except AmbiguousWrite:
                raise
            except (Conflict, Permanent, Transient):
                pass
        await self._send_deactivation(operation, bare, unfinished=bool(operation.names))
        return bare

    async def _send_deactivation(
        self, operation: op.Deactivate, changes: Changes, *, unfinished: bool = False
    ) -> None:
        answer = await self._request(operation, changes)
        _refuse_active(answer)
        version = answer.version if answer else None
        await self.linking.remember_left(operation.scim_id, version, changes.set, unfinished=unfinished)

    async def _request(self, operation: op.Update | op.Deactivate, changes: Changes) -> RemoteUser | None:
        await self.linking.doubt(changes.names)
        self._still_ours()
        return await self.ports.target.update(
            operation.scim_id, changes, self.source.desired, operation.version
        )

    async def _note_rewritten(
        self,
        scim_id: str,
        sent: Mapping[str, object],
        answer: RemoteUser | None,
        removed: Sequence[str] = (),
    ) -> str:
        names = not_kept(sent, answer.resource, removed) if answer else ()
        # Whether an account is active is never taken as the target has it.
        known = {*await self.ports.rewritten.names(), "active"} if names else frozenset[str]()
        if not known.issuperset(names):
            # What is noted stays, and the answer may show what was there before: the account itself is asked.
            shown = await self._shown(scim_id)
            lost = not_kept(sent, shown.resource, removed) if shown else known
            names = tuple(name for name in names if name in lost)
            await self.ports.rewritten.add([name for name in names if name not in known])
        return "the target did not keep as sent: " + ", ".join(names) if names else ""

    async def _shown(self, scim_id: str) -> RemoteUser | None:
        """None where it cannot be read: what was to be done is done."""
        with suppress(ProvisioningError):
            return await self.ports.target.get(scim_id)
        return None

    def _desired(self) -> Desired:
        assert self.source.desired is not None, "only users who are there are created or updated"
        return self.source.desired

    def _still_ours(self) -> None:
        if not self.lease.valid():
            raise LeaseLostError


def _refuse_active(answer: RemoteUser | None) -> None:
    """Not where the answer leaves it out: that proves nothing."""
    if answer is not None and answer.resource.get("active") is not None and answer.active:
        raise Transient(
            'the target answered, but still shows the account active; does update_method = "put" help?'
        )

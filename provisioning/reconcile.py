"""The one orchestrator: brings one user's account into step, whatever state either side is in.

A straight line: plan on what is known, look or read where the plan asks for it, check the switches and the guard,
send one operation, remember the link. Whatever comes back unexpected (404, 409, 412) changes what is known and
goes round again, a few times at most; retrying later belongs to the queue (DESIGN 1.6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.settings import SWITCHABLE, OperationName, TargetSettings
from provisioning import operations as op
from provisioning.diff import digest, digests, not_kept
from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Permanent,
    ProvisioningError,
    Superseded,
    Transient,
)
from provisioning.expressions import EvaluationError
from provisioning.finding import Finder
from provisioning.mapping import CompiledTarget, new_resource
from provisioning.model import (
    Changes,
    Desired,
    Job,
    Link,
    OutcomeName,
    Presence,
    RemoteUser,
    Removal,
    Result,
    Source,
    SourceUser,
)
from provisioning.plan import Candidate, Policy, plan
from provisioning.ports import Lease, Ports, Withheld
from provisioning.reporting import Reporter

ROUNDS = 5
_NO_ACCOUNT = Link(scim_id="", version=None, fingerprint="", digests={}, active=False)
WAIT_SECONDS = 5.0


class LeaseLostError(Exception):
    """Another worker may have been given this user: nothing more may be written by this one."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles the users of one target. key: the digest key. random, clock: for back-off and durations."""

    settings: TargetSettings
    compiled: CompiledTarget
    key: bytes
    ports: Ports
    random: Callable[[], float]
    clock: Callable[[], float] = time.monotonic

    async def reconcile(self, job: Job, user: SourceUser | None, link: Link | None, lease: Lease) -> Result:
        """Does what one user needs and says what that was.

        user: as Drupal showed it after the job was claimed; None when gone. Raises Throttled, Outage and
        SourceUnreadable, which concern more than this user, and LeaseLostError; everything else is a Result.
        """
        started = self.clock()
        try:
            result = await _Attempt(self, job, user, link, lease).run()
        except EvaluationError as error:
            result = self.reporter(job).report(OperationName.NONE, OutcomeName.FAILED, detail=str(error))
        return replace(result, duration_ms=round((self.clock() - started) * 1000))

    def reporter(self, job: Job) -> Reporter:
        return Reporter(self.settings, job, self.random)

    async def policy(self) -> Policy:
        return Policy(
            matching=self.settings.matching,
            adopt=self.settings.adopt,
            leavers=self.settings.leavers,
            mapped=self.compiled.mapped,
            key=self.key,
            external_id_is_uuid=self.compiled.external_id_is_uuid,
            rewritten=await self.ports.rewritten.names(),
        )


class _Attempt:
    """One run of `reconcile` for one user: what is known so far, and what to do next."""

    def __init__(
        self, reconciler: Reconciler, job: Job, user: SourceUser | None, link: Link | None, lease: Lease
    ) -> None:
        self.reconciler = reconciler
        self.reporter = reconciler.reporter(job)
        self.ports = reconciler.ports
        self.job = job
        self.lease = lease
        self.link = link
        self.found: Sequence[Candidate] | None = None
        self.source: Source = reconciler.compiled.source(job.user, user, reconciler.key)
        self.finder = Finder(reconciler.ports, reconciler.compiled, self.source)

    async def run(self) -> Result:
        policy = await self.reconciler.policy()
        decision: op.Decision = op.Nothing("")
        # An account whose content we do not know is read first, just as one that changed under our hands.
        unknown = self.link is not None and self.link.has_account and not self.link.content_known
        surprise: ProvisioningError | None = Superseded("content unknown") if unknown else None
        for _ in range(ROUNDS):
            try:
                if surprise is not None:
                    await self._learn(surprise, decision, policy)
                    surprise = None
                decision = plan(self.source, self.link, self.found, policy)
                if not isinstance(decision, op.LookUp):
                    return await self._carry_out(decision)
                self.found = await self.finder.look_up(decision.attributes, policy)
            except (Missing, Superseded, Conflict) as error:
                surprise = error
            except (Permanent, Transient, AmbiguousWrite) as error:
                return await self._failure(decision, error)
        return await self._failure(decision, surprise or Transient("the account kept changing"))

    async def _learn(self, surprise: ProvisioningError, decision: op.Decision, policy: Policy) -> None:
        """Takes in what the target's answer contradicted, so that the next plan knows better."""
        match surprise:
            case Missing():
                await self._forget()
            case Superseded():
                await self._read_account()
            case Conflict() if isinstance(decision, op.Create) and not self.found:
                await self._look_harder(policy, surprise)
            case _:
                raise Permanent(
                    surprise.detail, status_code=surprise.status_code, scim_type=surprise.scim_type
                )

    async def _failure(self, decision: op.Decision, error: ProvisioningError) -> Result:
        # 403 may mean this user, or everybody: one cheap request tells (it raises Outage then).
        if error.status_code == 403:
            await self.ports.target.probe()
        return self.reporter.failure(op.name_of(decision), error)

    async def _look_harder(self, policy: Policy, conflict: Conflict) -> None:
        """The target says the account exists, its search says it does not: read the listing (DESIGN 5.3)."""
        self.found = await self.finder.look_in_listing(policy)
        if self.found:
            return
        detail = "the target says this account exists already, but none of its accounts matches by "
        detail += ", ".join(policy.matching)
        # Our own create of a moment ago may not be visible yet; anybody else's would be.
        kind = Transient if self.job.attempt > 1 else Permanent
        raise kind(detail, status_code=conflict.status_code, scim_type=conflict.scim_type)

    async def _read_account(self) -> None:
        assert self.link is not None, "only linked accounts are read by id"
        self.found = (Candidate(await self.ports.target.get(self.link.scim_id)),)

    async def _forget(self) -> None:
        """404 for the id we knew: the link is stale, match again."""
        await self.ports.links.drop(self.job.user)
        self.link, self.found = None, None

    # -- acting ----------------------------------------------------------------------------------------------

    async def _carry_out(self, operation: op.Operation) -> Result:
        name = op.name_of(operation)
        if name in SWITCHABLE and name not in self.reporter.allowed():
            return self.reporter.report(name, OutcomeName.SKIPPED, detail=self.reporter.switched_off(name))
        match operation:
            case op.Refuse(reason, wait=True):
                return self._wait(reason)
            case op.Refuse(reason):
                return self.reporter.report(name, OutcomeName.FAILED, detail=reason)
            case op.Nothing(reason):
                return await self._nothing(reason)
            case op.LinkOnly(account):
                return await self._link_only(account)
            case op.Create():
                return await self._create()
            case op.Update():
                return await self._update(operation)
            case op.Deactivate() | op.Delete():
                return await self._remove(operation)

    def _wait(self, reason: str) -> Result:
        return self.reporter.failure(OperationName.NONE, Transient(reason, retry_after_seconds=WAIT_SECONDS))

    async def _nothing(self, reason: str) -> Result:
        link = self.link
        if link is None or not link.has_account:
            await self._remember_absence()
            return self.reporter.report(OperationName.NONE, OutcomeName.UNCHANGED, detail=reason)
        if link.fingerprint != self.source.fingerprint or not link.content_known:
            await self._remember(link.scim_id, link.version, active=self._known_active(link))
        return self.reporter.report(
            OperationName.NONE, OutcomeName.UNCHANGED, detail=reason, scim_id=link.scim_id
        )

    def _known_active(self, link: Link) -> bool:
        return self.found[0].account.active if self.found else link.active

    async def _link_only(self, account: RemoteUser) -> Result:
        await self._claim(account)
        await self._remember(account.scim_id, account.version, active=account.active)
        detail = "found on the target, already as it should be"
        return self.reporter.report(
            OperationName.LINK, OutcomeName.DONE, detail=detail, scim_id=account.scim_id
        )

    async def _create(self) -> Result:
        desired = self._desired()
        sent = {**desired.attributes, **desired.on_create}
        await self._write_down(_NO_ACCOUNT, desired.attributes)
        self._still_ours()
        account = await self.ports.target.create(new_resource(desired))
        detail = await self._note_rewritten(sent, account)
        if not await self._remember_made(account):
            return await self._undo_create(account)
        return self.reporter.report(
            OperationName.CREATE,
            OutcomeName.DONE,
            detail=detail,
            scim_id=account.scim_id,
            changes=tuple(sent),
        )

    async def _remember_made(self, account: RemoteUser) -> bool:
        digests_now = self._sent_digests(active=account.active)
        link = Link(account.scim_id, account.version, self.source.fingerprint, digests_now, account.active)
        return await self.ports.links.put(self.job.user, link, made=True)

    async def _undo_create(self, account: RemoteUser) -> Result:
        """Two workers made an account for this user at once, which takes a Redis that lost its leases. The other one's
        stays; this one's is nobody's yet, unless the target gave us the id of an account that another user has.
        """
        owner = await self.ports.links.owner(account.scim_id)
        if owner is not None:
            raise Permanent(
                f"the target gave this user the id {account.scim_id}, which is another Drupal user's account; look at "
                "both there"
            )
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
            return self._updated(operation, changes.names, detail)
        # What takes nothing away goes on; the rest waits for a person.
        rest = replace(changes, removed=())
        if rest:
            await self._send(operation, rest, kept=changes.removed)
        return self._withheld(OperationName.UPDATE, withheld, operation.scim_id, changes.removed)

    async def _send(self, operation: op.Update, changes: Changes, kept: Sequence[str] = ()) -> str:
        """kept: attributes that stay on the account though the user has no value any more."""
        before = self.link.digests if self.link else {}
        await self._write_down(self.link, changes.names)
        self._still_ours()
        answer = await self.ports.target.update(
            operation.scim_id, changes, self._desired(), operation.version
        )
        detail = await self._note_rewritten(changes.set, answer)
        version = answer.version if answer else None
        if kept:
            left = {path: before[path] for path in kept if path in before}
            digests_now = {**self._sent_digests(active=True), **left}
            await self._put(Link(operation.scim_id, version, "", digests_now, active=True))
        else:
            await self._remember(operation.scim_id, version, active=True)
        return detail

    def _updated(self, operation: op.Update, names: tuple[str, ...], detail: str) -> Result:
        return self.reporter.report(
            OperationName.UPDATE, OutcomeName.DONE, detail=detail, scim_id=operation.scim_id, changes=names
        )

    def _withheld(
        self, name: OperationName, withheld: Withheld, scim_id: str, cleared: tuple[str, ...] = ()
    ) -> Result:
        outcome = OutcomeName.SKIPPED if withheld.rejected else OutcomeName.HELD
        return self.reporter.report(name, outcome, detail=withheld.reason, scim_id=scim_id, changes=cleared)

    async def _remove(self, operation: op.Deactivate | op.Delete) -> Result:
        name = op.name_of(operation)
        withheld = await self.ports.guard.take(self.job, Removal(name, operation.scim_id))
        if withheld is not None:
            return self._withheld(name, withheld, operation.scim_id)
        if isinstance(operation, op.Delete):
            self._still_ours()
            await self.ports.target.delete(operation.scim_id)
            await self._remember_absence()
            return self.reporter.report(name, OutcomeName.DONE, scim_id=operation.scim_id)
        if operation.adopted is not None:
            await self._claim(operation.adopted)
        changes = Changes(set={"active": False})
        await self._write_down(self.link, changes.names)
        self._still_ours()
        answer = await self.ports.target.update(operation.scim_id, changes, None, operation.version)
        await self._remember(operation.scim_id, answer.version if answer else None, active=False)
        return self.reporter.report(name, OutcomeName.DONE, scim_id=operation.scim_id, changes=changes.names)

    # -- remembering -----------------------------------------------------------------------------------------

    async def _write_down(self, link: Link | None, paths: Iterable[str]) -> None:
        """Before a request: what it is about to change is in doubt until its answer is there."""
        if link is not None:
            await self.ports.links.put(self.job.user, link.doubting(paths))

    async def _claim(self, account: RemoteUser) -> None:
        """Takes an account found by matching for this user before anything is sent to it, so that two users can
        never take the same one. A former user's claim is given up first: `plan` has allowed that.
        """
        owner = await self.ports.links.owner(account.scim_id)
        if owner is not None and owner != self.job.user:
            await self.ports.links.drop(owner)
        # What an unanswered create may have set stays known as ours.
        doubts = self.link.digests if self.link else {}
        claim = Link(account.scim_id, account.version, fingerprint="", digests=doubts, active=account.active)
        if not await self.ports.links.put(self.job.user, claim):
            raise Permanent(f"account {account.scim_id} was taken by another Drupal user at the same moment")
        self.link = claim

    async def _remember(self, scim_id: str, version: str | None, *, active: bool) -> None:
        await self._put(
            Link(scim_id, version, self.source.fingerprint, self._sent_digests(active=active), active)
        )

    async def _put(self, link: Link) -> None:
        if not await self.ports.links.put(self.job.user, link):
            raise Permanent(
                f"the target gave this user the id {link.scim_id}, which is another Drupal user's account; look at both "
                "there"
            )

    async def _remember_absence(self) -> None:
        """Of a user who is there but rightly without an account, so that a full sync need not look again."""
        if self.source.presence is Presence.GONE:
            await self.ports.links.drop(self.job.user)
            return
        await self.ports.links.put(self.job.user, replace(_NO_ACCOUNT, fingerprint=self.source.fingerprint))

    def _sent_digests(self, *, active: bool) -> Mapping[str, str]:
        """Digests of what the account holds now: all that is mapped for a user in scope; for one who left, what
        was sent before, with active as it is. Empty when that is not known: the account is read before its next
        update.
        """
        key = self.reconciler.key
        if self.source.presence is Presence.ACTIVE and self.source.desired is not None:
            return digests(self.source.desired, key)
        before = self.link.digests if self.link else {}
        return {**before, "active": digest(active, key)} if before else {}

    async def _note_rewritten(self, sent: Mapping[str, object], answer: RemoteUser | None) -> str:
        if answer is None:
            return ""
        names = not_kept(sent, answer.resource)
        if not names:
            return ""
        await self.ports.rewritten.add(names)
        return "the target did not keep as sent: " + ", ".join(names)

    # -- small things ----------------------------------------------------------------------------------------

    def _desired(self) -> Desired:
        assert self.source.desired is not None, "only users who are there are created or updated"
        return self.source.desired

    def _still_ours(self) -> None:
        if not self.lease.valid():
            raise LeaseLostError

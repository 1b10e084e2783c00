"""The one orchestrator: brings one user's account into step, whatever state either side is in.

A straight line: plan on what is known, look or read where the plan asks for it, check the switches and the guard,
send one operation, remember the link. Whatever comes back unexpected (404, 409, 412) changes what is known and
goes round again, a few times at most; retrying later belongs to the queue (DESIGN 1.6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from config.settings import OperationName, TargetSettings, Trigger
from provisioning import operations as op
from provisioning.applying import WAIT_SECONDS, Applying
from provisioning.errors import (
    Conflict,
    Missing,
    Permanent,
    ProvisioningError,
    Superseded,
    Transient,
    Unauthorized,
)
from provisioning.expressions import EvaluationError
from provisioning.finding import Finder
from provisioning.linking import Linking
from provisioning.mapping import CompiledTarget
from provisioning.model import (
    Job,
    Link,
    OutcomeName,
    Result,
    Source,
    SourceUser,
)
from provisioning.plan import Candidate, Policy, occupied, plan
from provisioning.ports import Lease, Ports
from provisioning.reporting import Reporter

ROUNDS = 6


@dataclass(frozen=True)
class Reconciler:
    """Reconciles the users of one target. key: the digest key. random: for the back-off."""

    settings: TargetSettings
    compiled: CompiledTarget
    key: bytes
    ports: Ports
    random: Callable[[], float]

    async def reconcile(self, job: Job, user: SourceUser | None, link: Link | None, lease: Lease) -> Result:
        """Does what one user needs and says what that was.

        user: as Drupal showed it after the job was claimed; None when gone. Raises Throttled, Outage and
        SourceUnreadable, which concern more than this user, and LeaseLostError; everything else is a Result.
        """
        try:
            return await _Attempt(self, job, user, link, lease).run()
        except EvaluationError as error:
            return self.reporter(job).report(OperationName.NONE, OutcomeName.FAILED, detail=str(error))

    def reporter(self, job: Job) -> Reporter:
        return Reporter(self.settings, self._switches, job, self.random)

    @cached_property
    def _switches(self) -> Mapping[Trigger, frozenset[OperationName]]:
        return {trigger: self.settings.operations(trigger) for trigger in Trigger}

    async def policy(self) -> Policy:
        rewritten = await self.ports.rewritten.names()
        return (
            self._policy
            if rewritten == self._policy.rewritten
            else replace(self._policy, rewritten=rewritten)
        )

    @cached_property
    def _policy(self) -> Policy:
        return Policy(
            matching=self.settings.matching,
            adopt=self.settings.adopt,
            leavers=self.settings.leavers,
            mapped=self.compiled.mapped,
            key=self.key,
            external_id_is_uuid=self.compiled.external_id_is_uuid,
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
        self.found: Sequence[Candidate] | None = None
        self.source: Source = reconciler.compiled.source(job.user, user, reconciler.key)
        self.linking = Linking(self.ports.links, self.source, reconciler.key, link, lease.holder)
        untried = link is None or link.rightly_absent
        self.finder = Finder(self.ports, reconciler.compiled, self.source, untried=untried)
        self.applying = Applying(self.ports, self.reporter, job, self.source, self.linking, lease)

    async def run(self) -> Result:
        policy = await self.reconciler.policy()
        decision: op.Decision = op.Nothing("")
        # An account whose content we do not know is read first, just as one that changed under our hands.
        link = self.linking.link
        unknown = link is not None and link.has_account and not link.content_known
        surprise: ProvisioningError | None = Superseded("content unknown") if unknown else None
        for _ in range(ROUNDS):
            try:
                if surprise is not None:
                    await self._learn(surprise, decision, policy)
                    surprise = None
                decision = plan(self.source, self.linking.link, self.found, policy)
                if not isinstance(decision, op.LookUp):
                    return await self.applying.carry_out(
                        decision, self.found[0].account if self.found else None
                    )
                self.found = await self.finder.look_up(decision.attributes, policy)
            except (Missing, Superseded, Conflict) as error:
                surprise = error
            except (Permanent, Transient) as error:
                if not self._may_be_there(decision, error):
                    return await self._failure(decision, error)
                surprise = Conflict(error.detail, **_told(error))
            except Unauthorized as error:
                # Of this user alone it is no dead letter at once: the token may have ended, and a new one be there by now.
                if error.status_code is None:
                    raise
                return await self._failure(decision, Transient(error.detail, **_told(error)))
        return await self._failure(decision, surprise or Transient("the account kept changing"))

    def _may_be_there(self, decision: op.Decision, error: ProvisioningError) -> bool:
        """Some say 400 for a duplicate, in whatever words: nobody has looked for this user's account yet."""
        unexplained = error.status_code == 400 and error.scim_type is None
        return unexplained and isinstance(decision, op.Create) and self.finder.left_out

    async def _learn(self, surprise: ProvisioningError, decision: op.Decision, policy: Policy) -> None:
        """Takes in what the target's answer contradicted, so that the next plan knows better."""
        match surprise:
            case Missing():
                # A proxy without its target says 404 of everybody (raises Outage then). Else: match again.
                await self.ports.target.probe()
                await self.linking.forget()
                self.finder = replace(self.finder, untried=False)
                self.found = None
            case Superseded():
                await self._read_account()
            case Conflict() if isinstance(decision, op.Create) and self.finder.left_out:
                # Created without every look-up: now all of them.
                self.finder = replace(self.finder, untried=False, left_out=False)
                self.found = None
            case Conflict() if isinstance(decision, op.Create) and not self.found:
                await self._look_harder(policy, surprise)
            case Conflict() if isinstance(decision, op.Update):
                await self._look_who_has_it(decision, policy, surprise)
            case _:
                raise Permanent(surprise.detail, **_told(surprise))

    async def _failure(self, decision: op.Decision, error: ProvisioningError) -> Result:
        # 401 and 403 may mean this user, or everybody: one cheap request tells (it raises Outage then), if it is answered.
        if error.status_code in {401, 403}:
            try:
                await self.ports.target.probe()
            except Transient:
                error = Transient(error.detail, **_told(error))
        return self.reporter.failure(op.name_of(decision), error)

    async def _look_harder(self, policy: Policy, conflict: Conflict) -> None:
        """The target says the account exists, its search says it does not: read the listing (DESIGN 5.3)."""
        try:
            self.found = await self.finder.look_in_listing(policy)
        except Transient as error:
            if error.status_code is not None:
                raise
            # Of the listing only; what began it is what a person has to know.
            raise Transient(
                f"the target says this account exists already; {error.detail}", **_told(conflict)
            ) from None
        if self.found:
            return
        detail = "the target says this account exists already, but none of its accounts matches by "
        detail += ", ".join(policy.matching)
        # Our own create of a moment ago may not be visible yet; anybody else's would be.
        kind = Transient if self.job.attempt > 1 else Permanent
        raise kind(detail, **_told(conflict))

    async def _look_who_has_it(self, update: op.Update, policy: Policy, conflict: Conflict) -> None:
        """Another account has what this one is to get. Where it is about to give it up, there is something to wait for."""
        changed = [attribute for attribute in policy.matching if attribute in update.changes.set]
        # Of a user who is just being adopted, too.
        self.finder = replace(self.finder, untried=False)
        for candidate in await self.finder.look_up(changed, policy):
            refusal = occupied(candidate, policy)
            if refusal is not None and refusal.wait:
                raise Transient(refusal.reason, retry_after_seconds=WAIT_SECONDS, **_told(conflict))
            if refusal is not None:
                raise Permanent(refusal.reason, **_told(conflict))
        raise Permanent(conflict.detail, **_told(conflict))

    async def _read_account(self) -> None:
        assert self.linking.link is not None, "only linked accounts are read by id"
        account = await self.ports.target.get(self.linking.link.scim_id)
        if await self.finder.has_other_owner(account):
            raise Missing("the account under the id we knew is another user's by now")
        self.found = (Candidate(account),)


def _told(error: ProvisioningError) -> dict[str, Any]:
    """What the target said, for an error of another kind that it leads to."""
    return {"status_code": error.status_code, "scim_type": error.scim_type}

"""A dry run of one user: the same plan on the same facts, with every look and no write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import OperationName
from provisioning import operations as op
from provisioning.errors import Missing
from provisioning.finding import Finder
from provisioning.mapping import new_resource
from provisioning.model import Link, SourceUser
from provisioning.plan import Candidate, plan, situation
from provisioning.reconcile import Reconciler


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen. resource: the SCIM JSON a create would send, None for a user who is gone; it holds
    values and is for the person who asked, never for a log. match: (scim_id, attribute or "link") or None.
    """

    user: str
    situation: str
    operation: OperationName
    changes: tuple[str, ...]
    resource: Mapping[str, Any] | None
    match: tuple[str, str] | None
    detail: str


async def preview(reconciler: Reconciler, uuid: str, user: SourceUser | None, link: Link | None) -> Preview:
    """Raises what the target or the source raises, and EvaluationError for a mapping that fails on this user."""
    source = reconciler.compiled.source(uuid, user, reconciler.key)
    finder = Finder(reconciler.ports, reconciler.compiled, source)
    policy = await reconciler.policy()
    found: Sequence[Candidate] | None = None
    matched_by = "link"
    missing = False
    if link is not None and link.has_account:
        try:
            account = await reconciler.ports.target.get(link.scim_id)
            missing = await finder.has_other_owner(account)
        except Missing:
            missing = True
        link, found = (None, None) if missing else (link, (Candidate(account),))
    decision = plan(source, link, found, policy)
    if isinstance(decision, op.LookUp):
        found, matched_by = await finder.look_up_by(decision.attributes, policy)
        decision = plan(source, link, found, policy)
    name = op.name_of(decision)
    matches = found or ()
    return Preview(
        user=uuid,
        situation="missing" if missing else situation(source, link, found),
        operation=name,
        changes=_changes(decision, source.desired.attributes if source.desired else {}),
        resource=new_resource(source.desired) if source.desired else None,
        match=(matches[0].account.scim_id, matched_by) if matches else None,
        detail=_detail(decision),
    )


def _changes(decision: op.Decision, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    match decision:
        case op.Update(changes=changes):
            return changes.names
        case op.Create():
            return tuple(attributes)
        case op.Deactivate(names=names):
            return ("active", *names.names)
        case _:
            return ()


def _detail(decision: op.Decision) -> str:
    match decision:
        case op.Nothing(reason) | op.Refuse(reason):
            return reason
        case op.LinkOnly():
            return "found on the target, already as it should be; it would be linked"
        case op.Deactivate(others=others) if others:
            return op.and_others(others)
        case op.Update(adopted=account) if account is not None:
            return "found on the target; it would be linked and brought into step"
        case _:
            return ""

"""reconcile against a site and a target in memory: what exists on the target afterwards is what counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from config.settings import (
    LeaverSettings,
    MappedValue,
    OperationName,
    Trigger,
)
from provisioning.applying import LeaseLostError
from provisioning.errors import Outage, Permanent, Throttled, Transient, Unauthorized
from provisioning.model import OutcomeName, Removal
from tests.support.fakes import (
    down,
    lost_answer,
)
from tests.support.reconciling import ANNA, MAIL, World


def test_a_new_user_gets_an_account_with_every_mapped_attribute(world):
    result = world.run(ANNA)
    assert (result.operation, result.outcome) == (OperationName.CREATE, OutcomeName.DONE)
    account = world.accounts()["anna"]
    assert account["externalId"] == ANNA
    assert account["active"] is True
    assert account["nickName"] == "anna"
    assert account["emails"] == [{"type": "work", "value": "anna@example.test"}]


def test_a_second_run_sends_nothing(world):
    world.run(ANNA)
    world.target.requests.clear()
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.target.requests == []


def test_an_edit_sends_only_what_changed_and_never_the_create_only_attribute(world):
    world.run(ANNA)
    world.site.edit(ANNA, name="anne")
    result = world.run(ANNA)
    assert (result.operation, set(result.changes)) == (OperationName.UPDATE, {"userName", "displayName"})
    assert world.accounts()["anne"]["nickName"] == "anna"
    assert len(world.target.accounts) == 1


def test_an_emptied_attribute_is_removed_from_the_account(world):
    world.run(ANNA)
    world.site.edit(ANNA, mail=None)
    world.run(ANNA)
    assert "emails" not in world.accounts()["anna"]


def test_blocked_then_unblocked(world):
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA).operation is OperationName.DEACTIVATE
    assert world.accounts()["anna"]["active"] is False
    world.site.edit(ANNA, status=True)
    assert world.run(ANNA).operation is OperationName.UPDATE
    assert world.accounts()["anna"]["active"] is True


def test_leaving_and_entering_scope(world):
    world.run(ANNA)
    world.site.edit(ANNA, roles=["guest"])
    assert world.run(ANNA).operation is OperationName.DEACTIVATE
    world.site.edit(ANNA, roles=["member"])
    world.run(ANNA)
    assert world.accounts()["anna"]["active"] is True


def test_a_user_who_is_gone_is_deactivated_and_stays_known(world):
    world.run(ANNA)
    world.site.delete(ANNA)
    assert world.run(ANNA).operation is OperationName.DEACTIVATE
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.accounts()["anna"]["active"] is False


def test_deleting_removes_account_and_link():
    world = World(leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    assert world.run(ANNA).operation is OperationName.DELETE
    assert world.target.accounts == {}
    assert world.links.links == {}


def test_a_blocked_user_without_an_account_gets_none_and_is_looked_for_once(world):
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.target.requests == ["find"]
    assert world.target.accounts == {}


@pytest.mark.parametrize(
    ("trigger", "narrowed", "expected", "words"),
    [
        (Trigger.AUTOMATIC, None, OutcomeName.SKIPPED, "targets.acme.automatic.operations"),
        (Trigger.SCHEDULED, None, OutcomeName.SKIPPED, "targets.acme.scheduled.operations"),
        (Trigger.MANUAL, frozenset({OperationName.UPDATE}), OutcomeName.SKIPPED, "--operation"),
        (Trigger.MANUAL, None, OutcomeName.DONE, ""),
    ],
)
def test_switches(trigger, narrowed, expected, words):
    world = World(leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    result = world.run(ANNA, trigger=trigger, narrowed=narrowed)
    assert (result.operation, result.outcome) == (OperationName.DELETE, expected)
    assert words in result.detail
    assert len(world.target.accounts) == (0 if expected is OutcomeName.DONE else 1)


def test_removals_over_the_budget_are_held_and_an_approved_one_passes(world):
    world.run(ANNA)
    world.site.delete(ANNA)
    world.guard.budget = 0
    result = world.run(ANNA)
    assert (result.operation, result.outcome) == (OperationName.DEACTIVATE, OutcomeName.HELD)
    assert world.accounts()["anna"]["active"] is True
    for shown in (
        Removal(OperationName.DELETE, result.scim_id),
        Removal(OperationName.DEACTIVATE, "another account"),
    ):
        assert world.run(ANNA, approved=shown).outcome is OutcomeName.HELD
    shown = Removal(OperationName.DEACTIVATE, result.scim_id)
    assert world.run(ANNA, approved=shown).outcome is OutcomeName.DONE


@pytest.mark.parametrize("claimed", [True, False])
def test_an_empty_field_empties_the_attribute_of_an_account_that_says_it_is_ours(world, claimed):
    """Though all links were lost; of anybody else's account, what others have set stays."""
    known = {"externalId": ANNA} if claimed else {}
    emails = [{"type": "work", "value": "old@example.test"}]
    scim_id = world.target.has(userName="anna", emails=emails, **known)
    world.site.edit(ANNA, mail=None)
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert bool(world.target.accounts[scim_id].get("emails")) is not claimed


def test_a_leaver_whose_account_somebody_else_changed_is_removed_all_the_same(world):
    world.run(ANNA)
    (scim_id,) = world.target.accounts
    world.target.touch(scim_id, title="set by somebody else")
    world.site.edit(ANNA, status=False)
    result = world.run(ANNA)
    assert (result.operation, result.outcome) == (OperationName.DEACTIVATE, OutcomeName.DONE)
    assert world.target.accounts[scim_id]["active"] is False


def test_an_attribute_over_the_budget_stays_while_the_rest_of_the_update_goes_on(world):
    world.run(ANNA)
    world.site.edit(ANNA, mail=None, name="anne")
    world.guard.budget = 0
    result = world.run(ANNA)
    assert (result.operation, result.outcome) == (OperationName.UPDATE, OutcomeName.HELD)
    assert result.changes == (MAIL,)
    account = world.accounts()["anne"]
    assert account["emails"][0]["value"] == "anna@example.test"
    # Nothing is left to send but what is held; and what is approved is what was shown.
    world.target.requests.clear()
    assert world.run(ANNA).outcome is OutcomeName.HELD
    assert world.target.writes == []
    shown = Removal(OperationName.UPDATE, result.scim_id, frozenset({"displayName"}))
    assert world.run(ANNA, approved=shown).outcome is OutcomeName.HELD
    shown = Removal(OperationName.UPDATE, result.scim_id, frozenset({MAIL}))
    assert world.run(ANNA, approved=shown).outcome is OutcomeName.DONE
    assert not world.accounts()["anne"].get("emails")
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED


@pytest.mark.parametrize("edited", [{}, {"name": "anne"}], ids=["nothing else", "an edit too"])
def test_an_attribute_over_the_budget_is_held_also_where_all_links_were_lost(world, edited):
    """And goes on being held until a person has decided, whatever else of that account had to be put right."""
    world.run(ANNA)
    (scim_id,) = world.target.accounts
    world.links.links.clear()
    world.site.edit(ANNA, mail=None, **edited)
    world.guard.budget = 0
    for _ in range(3):
        result = world.run(ANNA)
        assert (result.outcome, result.changes) == (OutcomeName.HELD, (MAIL,))
    shown = Removal(OperationName.UPDATE, scim_id, frozenset({MAIL}))
    assert world.run(ANNA, approved=shown).outcome is OutcomeName.DONE
    assert not world.target.accounts[scim_id].get("emails")


def test_an_attribute_whose_loss_was_rejected_stays_and_later_edits_go_on(world):
    world.run(ANNA)
    world.site.edit(ANNA, mail=None)
    world.guard.budget, world.guard.rejects = 0, True
    assert world.run(ANNA).outcome is OutcomeName.SKIPPED
    world.site.edit(ANNA, name="anne")
    assert world.run(ANNA).outcome is OutcomeName.SKIPPED
    assert world.accounts()["anne"]["emails"][0]["value"] == "anna@example.test"
    world.site.edit(ANNA, mail="new@example.test")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert world.accounts()["anne"]["emails"][0]["value"] == "new@example.test"


def test_transient_errors_come_back_until_the_attempts_are_spent(world):
    world.target.before = lambda verb: down()
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    last = world.run(ANNA, attempt=3)
    assert last.outcome is OutcomeName.FAILED
    assert "3 attempts" in last.detail


def test_a_permanent_error_is_a_dead_letter_at_once(world):
    world.target.before = lambda verb: Permanent("bad", status_code=400) if verb == "create" else None
    result = world.run(ANNA)
    assert (result.outcome, result.operation, result.status_code) == (
        OutcomeName.FAILED,
        OperationName.CREATE,
        400,
    )


def test_a_403_for_everybody_is_an_outage_and_for_one_user_a_dead_letter(world):
    world.target.before = lambda verb: Permanent("no", status_code=403) if verb == "create" else None
    assert world.run(ANNA).outcome is OutcomeName.FAILED
    refuse_all = {"create": Permanent("no", status_code=403), "probe": Outage("no", status_code=403)}
    world.target.before = refuse_all.get
    with pytest.raises(Outage):
        world.run(ANNA)


@pytest.mark.parametrize("error", [Throttled("429", retry_after_seconds=3), Unauthorized("401")])
def test_what_concerns_everybody_is_not_judged_here(world, error):
    world.target.before = lambda verb: error
    with pytest.raises(type(error)):
        world.run(ANNA)


def test_a_lost_lease_stops_before_the_write(world):
    world.lease.held = False
    with pytest.raises(LeaseLostError):
        world.run(ANNA)
    assert world.target.writes == []


def test_attributes_the_target_does_not_keep_are_named_and_not_fought_over(world):
    world.target.drops = frozenset({"displayName"})
    assert "displayName" in world.run(ANNA).detail
    world.target.requests.clear()
    for _ in range(2):
        world.target.touch(world.links.links[ANNA].scim_id, title="somebody else's")
        world.links.links[ANNA] = world.links.links[ANNA].doubting(["userName"])
        assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.target.writes == []
    # Of an account of which nothing is known it is sent once.
    world.links.links.clear()
    assert [world.run(ANNA).operation for _ in range(2)] == [OperationName.UPDATE, OperationName.NONE]


@pytest.mark.parametrize("how", ["lost", "412"])
def test_what_the_target_does_not_keep_as_sent_is_sent_again_where_it_did_not_get_there(world, how):
    """It was learned from others that the target lower-cases, say; this one's new name is to get there all the same."""
    scim_id = world.run(ANNA).scim_id
    asyncio.run(world.rewritten.add(["userName"]))
    world.site.edit(ANNA, name="anna.new")
    if how == "412":
        world.target.touch(scim_id, title="somebody else's")
    else:
        lost = iter([lost_answer()])
        world.target.before = lambda verb: next(lost, None) if verb == "update" else None
        assert world.run(ANNA).outcome is OutcomeName.PENDING
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert world.accounts().keys() == {"anna.new"}
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED


def test_an_attribute_that_the_target_does_not_take_away_is_named(world):
    """As with PUT, where a target keeps what is left out (RFC 7644 3.5.1)."""
    world.run(ANNA)
    update = world.target.update

    async def keeps(scim_id, changes, *rest):
        await update(scim_id, replace(changes, removed=()), *rest)
        return await world.target.get(scim_id)

    world.target.update = keeps
    world.site.edit(ANNA, mail=None)
    result = world.run(ANNA)
    assert (result.outcome, result.detail) == (
        OutcomeName.DONE,
        f"the target did not keep as sent: {MAIL}",
    )
    assert asyncio.run(world.rewritten.names()) == {MAIL}


def test_a_403_is_told_also_where_the_target_cannot_be_asked_who_is_meant(world):
    errors = {
        "create": Permanent("the target answered 403", status_code=403),
        "probe": Transient("no whole answer came from the target in time"),
    }
    world.target.before = errors.get
    result = world.run(ANNA)
    assert (result.outcome, result.status_code, result.detail) == (
        OutcomeName.PENDING,
        403,
        "the target answered 403",
    )


def test_a_mapping_that_fails_on_one_user_is_told_without_a_value():
    world = World(mapping={"userName": MappedValue(value="name"), "title": MappedValue(value="mail.x.y.z")})
    world.site.add(ANNA, name="   ", mail="secret@example.test")
    result = world.run(ANNA)
    assert result.outcome is OutcomeName.FAILED
    assert "userName" in result.detail
    assert "secret" not in result.detail


def test_the_source_failing_in_the_middle_is_nobodys_removal(world):
    world.run(ANNA)
    world.site.broken = Transient("unreadable")
    with pytest.raises(Transient):
        world.run(ANNA)
    assert world.accounts()["anna"]["active"] is True

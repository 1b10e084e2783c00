"""reconcile against a site and a target in memory: what exists on the target afterwards is what counts."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import (
    LeaverSettings,
    MappedValue,
    OperationName,
    Trigger,
)
from provisioning.applying import LeaseLostError
from provisioning.errors import Outage, Permanent, Throttled, Transient, Unauthorized
from provisioning.model import Link, OutcomeName, Removal
from tests.support.fakes import (
    down,
    lost_answer,
)
from tests.support.reconciling import ANNA, BERT, MAIL, World


@pytest.fixture
def world() -> World:
    world = World()
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    return world


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


def test_a_lost_answer_to_a_create_never_makes_a_second_account(world):
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    first = world.run(ANNA)
    assert (first.outcome, first.retry_after_seconds) == (OutcomeName.PENDING, pytest.approx(1.5))
    assert world.links.links[ANNA].in_doubt
    world.target.after = lambda verb: None
    second = world.run(ANNA, attempt=2)
    assert second.operation is OperationName.LINK
    assert len(world.target.accounts) == 1
    assert world.links.links[ANNA].scim_id in world.target.accounts


def test_an_account_the_search_does_not_see_is_found_after_the_conflict(world):
    world.target.has(userName="anna", externalId=ANNA)
    world.target.blind = frozenset({"externalId", "userName"})
    result = world.run(ANNA)
    assert result.operation is OperationName.UPDATE
    assert len(world.target.accounts) == 1


def test_a_conflict_nobody_can_explain_becomes_a_dead_letter_at_once(world):
    world.target.before = lambda verb: None
    world.target.has(userName="ANNA")
    world.target.blind = frozenset({"externalId", "userName"})
    found = world.target.find_in_listing

    async def empty(attribute: str, value: str) -> list[Any]:
        await found(attribute, value)
        return []

    world.target.find_in_listing = empty
    result = world.run(ANNA)
    assert (result.outcome, result.status_code) == (OutcomeName.FAILED, 409)
    assert world.target.writes == ["create"]


def test_where_the_target_refuses_doubles_itself_a_create_comes_first(world):
    world.target.unique = frozenset({"userName", "externalId"})
    assert world.run(ANNA).operation is OperationName.CREATE
    assert world.target.requests == ["create"]


def test_a_create_that_is_refused_looks_up_and_adopts(world):
    world.target.unique = frozenset({"userName", "externalId"})
    scim_id = world.target.has(userName="anna", externalId=ANNA)
    result = world.run(ANNA)
    assert (result.operation, result.scim_id) == (OperationName.UPDATE, scim_id)
    assert len(world.target.accounts) == 1


def test_a_create_that_is_refused_for_another_users_account_becomes_a_dead_letter(world):
    world.target.unique = frozenset({"userName", "externalId"})
    world.target.has(userName="anna", externalId="somebody-else")
    result = world.run(ANNA)
    assert result.outcome is OutcomeName.FAILED
    assert "another externalId" in result.detail
    assert len(world.target.accounts) == 1


def test_after_a_create_whose_answer_was_lost_no_look_up_is_left_out(world):
    world.target.unique = frozenset({"userName", "externalId"})
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    world.target.after = lambda verb: None
    world.site.edit(ANNA, name="anne")
    world.run(ANNA)
    assert world.target.requests == ["create", "find", "update"]
    assert list(world.accounts()) == ["anne"]


def test_after_an_account_has_vanished_no_look_up_is_left_out(world):
    world.run(ANNA)
    world.target.accounts.clear()
    world.target.unique = frozenset({"userName", "externalId"})
    world.target.has(userName="anne", externalId=ANNA)
    world.site.edit(ANNA, name="annie")
    world.run(ANNA)
    assert list(world.accounts()) == ["annie"]


def test_a_stale_link_is_matched_again_and_then_created(world):
    world.run(ANNA)
    world.target.accounts.clear()
    world.site.edit(ANNA, name="anne")
    assert world.run(ANNA).operation is OperationName.CREATE
    assert list(world.accounts()) == ["anne"]


def test_an_account_somebody_else_changed_is_read_again_and_planned_again(world):
    world.run(ANNA)
    scim_id = world.links.links[ANNA].scim_id
    world.target.touch(scim_id, title="Boss")
    world.site.edit(ANNA, mail="new@example.test")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert world.target.accounts[scim_id]["title"] == "Boss"
    assert world.target.accounts[scim_id]["emails"] == [{"type": "work", "value": "new@example.test"}]


def test_adoption_claims_the_account_before_it_writes(world):
    world.target.has(userName="anna", title="kept")
    world.target.before = lambda verb: down() if verb == "update" else None
    world.run(ANNA)
    assert world.links.links[ANNA].scim_id in world.target.accounts
    world.site.add(BERT, name="bert")
    world.target.before = lambda verb: None
    world.run(ANNA, attempt=2)
    assert world.accounts()["anna"]["title"] == "kept"
    assert world.accounts()["anna"]["externalId"] == ANNA


def test_an_account_of_another_drupal_user_is_refused(world):
    world.run(ANNA)
    world.site.add(BERT, name="anna")
    result = world.run(BERT)
    assert result.outcome is OutcomeName.FAILED
    assert "belongs to another Drupal user" in result.detail
    world.site.edit(ANNA, name="renamed")
    world.run(ANNA)
    assert world.run(BERT).operation is OperationName.CREATE
    assert set(world.accounts()) == {"renamed", "anna"}


def test_a_recreated_user_waits_until_the_old_account_is_deleted():
    world = World(leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    world.site.add(BERT, name="anna")
    assert world.run(BERT).outcome is OutcomeName.PENDING
    world.run(ANNA)
    assert world.run(BERT, attempt=2).operation is OperationName.CREATE
    assert world.accounts()["anna"]["externalId"] == BERT


def test_always_takes_over_the_account_of_a_user_who_left():
    world = World(adopt="always")
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    world.site.add(BERT, name="anna")
    assert world.run(BERT).operation is OperationName.UPDATE
    assert world.accounts()["anna"]["externalId"] == BERT
    assert set(world.links.links) == {BERT}


def test_links_lost_means_matched_again_and_no_write(world):
    world.run(ANNA)
    world.links.links.clear()
    world.target.requests.clear()
    assert world.run(ANNA).operation is OperationName.LINK
    assert world.target.writes == []


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


def test_of_two_accounts_made_at_once_one_is_taken_back(world):
    """A Redis that was emptied has lost the lease, and the user was renamed between the two."""

    def other_worker(verb):
        if verb == "create" and not world.links.links.get(ANNA, Link("", None, "", {})).has_account:
            other = world.target.has(userName="renamed", externalId=ANNA)
            world.links.links[ANNA] = Link(other, None, "", {})

    world.target.before = other_worker
    result = world.run(ANNA)
    assert (result.outcome, result.operation) == (OutcomeName.PENDING, OperationName.CREATE)
    (account,) = world.target.accounts.values()
    assert account["userName"] == "renamed"
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert list(world.accounts()) == ["anna"]


def test_an_account_made_by_another_worker_meanwhile_keeps_its_link(world):
    """A Redis that was emptied gives one user to two workers: the other one's account is there before our create."""

    def other_worker(verb):
        if verb == "find" and not world.links.links:
            other = world.target.has(userName="renamed", externalId="x")
            world.links.links[ANNA] = Link(other, None, "", {})

    world.target.before = other_worker
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    assert list(world.accounts()) == ["renamed"]
    assert world.links.links[ANNA].has_account


def test_an_account_made_by_another_worker_meanwhile_is_not_forgotten_when_its_user_has_left(world):
    """Else the account would stay active, and nothing would ever look at it again."""
    world.site.edit(ANNA, status=False)

    def other_worker(verb):
        if verb == "find" and not world.links.links:
            world.links.links[ANNA] = Link(world.target.has(userName="anna"), None, "", {})

    world.target.before = other_worker
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    assert world.run(ANNA, attempt=2).operation is OperationName.DEACTIVATE
    assert [account["active"] for account in world.target.accounts.values()] == [False]


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
    world.links.links.clear()
    world.target.requests.clear()
    assert world.run(ANNA).operation is OperationName.LINK
    assert world.target.writes == []


def test_a_mapping_that_fails_on_one_user_is_told_without_a_value():
    world = World(mapping={"userName": MappedValue(value="name"), "title": MappedValue(value="mail.x.y.z")})
    world.site.add(ANNA, name="   ", mail="secret@example.test")
    result = world.run(ANNA)
    assert result.outcome is OutcomeName.FAILED
    assert "userName" in result.detail
    assert "secret" not in result.detail


def test_two_users_never_take_the_same_account():
    world = World(
        mapping={"userName": MappedValue(value="name"), "active": MappedValue(value="status")},
        matching=("userName",),
    )
    world.target.has(userName="shared")
    world.site.add(ANNA, name="shared")
    world.site.add(BERT, name="Shared")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert world.run(BERT).outcome is OutcomeName.FAILED
    assert len(world.target.accounts) == 1


def test_the_source_failing_in_the_middle_is_nobodys_removal(world):
    world.run(ANNA)
    world.site.broken = Transient("unreadable")
    with pytest.raises(Transient):
        world.run(ANNA)
    assert world.accounts()["anna"]["active"] is True


def test_a_value_set_by_a_create_whose_answer_was_lost_is_taken_away_when_it_is_emptied(world):
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.site.edit(ANNA, mail=None)
    world.run(ANNA, attempt=2)
    assert "emails" not in world.accounts()["anna"]


def test_a_value_set_by_an_update_whose_answer_was_lost_is_taken_away_when_it_is_emptied(world):
    world.site.edit(ANNA, mail=None)
    world.run(ANNA)
    world.site.edit(ANNA, mail="anna@example.test")
    world.target.after = lambda verb: down() if verb == "update" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.site.edit(ANNA, mail=None)
    world.run(ANNA, attempt=2)
    assert "emails" not in world.accounts()["anna"]


def test_a_user_who_left_after_an_unanswered_create_leaves_no_active_account(world):
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.site.delete(ANNA)
    assert world.run(ANNA, attempt=2).operation is OperationName.DEACTIVATE
    assert world.accounts()["anna"]["active"] is False


def test_a_deactivation_whose_answer_was_lost_is_taken_back_when_the_user_returns(world):
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    world.target.after = lambda verb: down() if verb == "update" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.site.edit(ANNA, status=True)
    world.run(ANNA, attempt=2)
    assert world.accounts()["anna"]["active"] is True

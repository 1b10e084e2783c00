"""reconcile where it has to find out whose an account is, or what became of a request whose answer was lost."""

from __future__ import annotations

from typing import Any

from config.settings import (
    LeaverSettings,
    MappedValue,
    OperationName,
)
from provisioning.errors import Transient
from provisioning.model import Link, OutcomeName
from tests.support.fakes import (
    down,
    lost_answer,
)
from tests.support.reconciling import ANNA, BERT, World


def test_a_lost_answer_to_a_create_never_makes_a_second_account(world):
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    first = world.run(ANNA)
    assert (first.outcome, first.retry_after_seconds, first.unanswered) == (OutcomeName.PENDING, 5.0, True)
    assert world.links.links[ANNA].in_doubt
    world.target.after = lambda verb: None
    second = world.run(ANNA, attempt=2)
    assert second.operation is OperationName.LINK
    assert len(world.target.accounts) == 1
    assert world.links.links[ANNA].scim_id in world.target.accounts


def test_after_the_last_attempt_it_is_known_as_well_that_the_answer_was_lost(world):
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    last = world.run(ANNA, attempt=3)
    assert (last.outcome, last.unanswered) == (OutcomeName.FAILED, True)


def test_an_account_of_a_leaver_that_is_not_found_at_first_is_not_forgotten(world):
    """It was made, nobody heard of it, and the search shows it a moment later than the user has left."""
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.target.blind = frozenset({"externalId", "userName"})
    world.site.edit(ANNA, status=False)
    waiting = world.run(ANNA, attempt=2)
    assert (waiting.outcome, waiting.retry_after_seconds) == (OutcomeName.PENDING, 5.0)
    world.target.blind = frozenset()
    assert world.run(ANNA, attempt=3).operation is OperationName.DEACTIVATE
    assert [account["active"] for account in world.target.accounts.values()] == [False]


def test_a_leaver_whose_account_was_never_made_is_settled_after_some_looks(world):
    world.target.before = lambda verb: lost_answer() if verb == "create" else None
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    assert [world.run(ANNA, attempt=attempt).outcome for attempt in (2, 3)] == [
        OutcomeName.PENDING,
        OutcomeName.UNCHANGED,
    ]
    assert not world.links.links[ANNA].in_doubt


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


def test_a_conflict_that_the_listing_cannot_explain_is_told_all_the_same(world):
    world.target.has(userName="ANNA")
    world.target.blind = frozenset({"externalId", "userName"})

    async def not_whole(attribute: str, value: str) -> list[Any]:
        raise Transient("it may have more")

    world.target.find_in_listing = not_whole
    result = world.run(ANNA)
    assert (result.outcome, result.status_code) == (OutcomeName.PENDING, 409)
    assert result.detail == "the target says this account exists already; it may have more"


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

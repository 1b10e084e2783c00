"""The account that has the name belongs to somebody who has given it up, or is about to go."""

from __future__ import annotations

import pytest

from config.settings import LeaverSettings, OperationName
from provisioning.model import OutcomeName
from tests.support.fakes import down
from tests.support.reconciling import ANNA, BERT, World


@pytest.fixture
def world(monkeypatch) -> World:
    """Anna has left; her account is deleted and forgotten just after Bert's look-up has seen it."""
    world = World(leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="phoenix")
    world.run(ANNA)
    world.site.delete(ANNA)
    world.site.add(BERT, name="phoenix")
    find = world.target.find

    async def overtaken(attribute, value, **more):
        found = await find(attribute, value, **more)
        for account in found:
            await world.target.delete(account.scim_id)
            await world.links.drop(ANNA, account.scim_id)
        return found

    monkeypatch.setattr(world.target, "find", overtaken)
    return world


def test_the_next_user_gets_an_account_of_their_own(world):
    result = world.run(BERT)
    assert (result.outcome, result.detail) == (OutcomeName.DONE, "")
    assert [account["externalId"] for account in world.accounts().values()] == [BERT]


@pytest.fixture
def handed_over() -> World:
    """Bert has Anna's former name, and her account has it still."""
    world = World()
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna_married")
    world.site.add(BERT, name="anna")
    return world


def test_a_name_that_was_handed_over_is_waited_for(handed_over):
    world = handed_over
    waiting = world.run(BERT)
    assert (waiting.outcome, waiting.retry_after_seconds) == (OutcomeName.PENDING, 5.0)
    world.run(ANNA)
    assert world.run(BERT, attempt=2).outcome is OutcomeName.DONE
    accounts = {name: account["externalId"] for name, account in world.accounts().items()}
    assert accounts == {"anna_married": ANNA, "anna": BERT}


def test_a_name_that_never_comes_free_is_a_dead_letter_in_the_end(handed_over):
    result = handed_over.run(BERT, attempt=3)
    assert (result.outcome, "has still to follow" in result.detail) == (OutcomeName.FAILED, True)


@pytest.fixture
def both_linked() -> World:
    """Bert, who has an account, has Anna's former name, and her account has it still."""
    world = World()
    world.site.add(ANNA, name="anna")
    world.site.add(BERT, name="bert")
    world.run(ANNA)
    world.run(BERT)
    world.site.edit(ANNA, name="anna_married")
    world.site.edit(BERT, name="anna")
    return world


def test_a_name_handed_over_to_a_user_with_an_account_is_waited_for(both_linked):
    world = both_linked
    waiting = world.run(BERT)
    assert (waiting.outcome, waiting.status_code, waiting.retry_after_seconds) == (
        OutcomeName.PENDING,
        409,
        5.0,
    )
    world.run(ANNA)
    done = world.run(BERT, attempt=2)
    assert (done.operation, done.outcome) == (OperationName.UPDATE, OutcomeName.DONE)
    accounts = {name: account["externalId"] for name, account in world.accounts().items()}
    assert accounts == {"anna_married": ANNA, "anna": BERT}


def test_nor_does_one_whose_account_is_just_found_give_up(both_linked):
    """After Redis was emptied; that the target keeps names unique says that there is nobody to look for."""
    world = both_linked
    world.target.unique = frozenset({"userName"})
    del world.links.links[BERT]
    waiting = world.run(BERT)
    assert (waiting.outcome, waiting.retry_after_seconds) == (OutcomeName.PENDING, 5.0)
    world.run(ANNA)
    assert world.run(BERT, attempt=2).outcome is OutcomeName.DONE


def test_a_name_that_another_user_keeps_is_a_dead_letter_at_once(both_linked):
    world = both_linked
    world.site.edit(ANNA, name="anna")
    result = world.run(BERT)
    assert (result.outcome, "belongs to another Drupal user" in result.detail) == (OutcomeName.FAILED, True)


def test_a_name_that_nobody_of_ours_has_is_a_dead_letter_at_once(both_linked):
    world = both_linked
    world.site.edit(BERT, name="admin")
    world.target.has(userName="admin")
    result = world.run(BERT)
    assert (result.outcome, result.status_code, result.detail) == (OutcomeName.FAILED, 409, "taken")


def test_users_who_exchange_names_are_dead_letters_in_the_end(both_linked):
    world = both_linked
    world.site.edit(ANNA, name="bert")
    for attempt in range(1, 3):
        assert {world.run(user, attempt=attempt).outcome for user in (ANNA, BERT)} == {OutcomeName.PENDING}
    assert {world.run(user, attempt=3).outcome for user in (ANNA, BERT)} == {OutcomeName.FAILED}
    assert {account["externalId"] for account in world.accounts().values()} == {ANNA, BERT}


def test_who_is_back_before_the_answer_to_a_delete_gets_an_account():
    """As from a backup: the same user, unchanged. The account went, and nobody was told."""
    world = World(leavers=LeaverSettings(deleted="delete"))
    anna = world.site.add(ANNA, name="anna")
    world.run(ANNA)
    before = world.site.users[anna]
    world.site.delete(ANNA)
    world.target.after = lambda verb: down() if verb == "delete" else None
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    assert world.accounts() == {}
    world.site.users[ANNA] = before
    assert world.run(ANNA, attempt=2).operation is OperationName.CREATE
    assert [account["externalId"] for account in world.accounts().values()] == [ANNA]

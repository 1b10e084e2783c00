"""A name that a blocked user gives up in Drupal is free there: their account must not keep it from the next user."""

from __future__ import annotations

import pytest

from config.settings import OperationName, TriggerSettings
from provisioning.errors import Permanent
from provisioning.model import OutcomeName
from tests.support.fakes import lost_answer
from tests.support.reconciling import ALL, ANNA, BERT, World


@pytest.fixture
def world() -> World:
    world = World()
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    world.run(ANNA)
    return world


BLOCKED, RENAMED = {"status": False}, {"name": "anna_old"}


@pytest.mark.parametrize("edits", [[BLOCKED, RENAMED], [RENAMED | BLOCKED]], ids=["one by one", "at once"])
def test_the_next_user_gets_the_name(world, edits):
    for edit in edits:
        world.site.edit(ANNA, **edit)
        world.run(ANNA)
    world.site.add(BERT, name="anna")
    assert world.run(BERT).outcome is OutcomeName.DONE
    assert {name: (a["externalId"], a["active"]) for name, a in world.accounts().items()} == {
        "anna_old": (ANNA, False),
        "anna": (BERT, True),
    }


def test_only_names_follow_a_blocked_user(world):
    world.site.edit(ANNA, status=False, name="anna_old", mail="other@example.test")
    assert world.run(ANNA).changes == ("active", "userName")
    account = world.accounts()["anna_old"]
    assert (account["displayName"], account["emails"][0]["value"]) == ("anna", "anna@example.test")
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED


def test_what_did_not_follow_does_when_the_user_is_back(world):
    world.site.edit(ANNA, status=False, name="anna_old", mail="other@example.test")
    world.run(ANNA)
    world.site.edit(ANNA, status=True)
    assert set(world.run(ANNA).changes) == {"active", "displayName", 'emails[type eq "work"].value'}
    account = world.accounts()["anna_old"]
    assert (account["active"], account["displayName"]) == (True, "anna_old")


@pytest.mark.parametrize(("error", "attempt"), [(Permanent("no", status_code=400), 1), (lost_answer(), 3)])
def test_a_name_that_is_refused_keeps_nobody_active(world, error, attempt):
    world.target.refuses["userName"] = error
    world.site.edit(ANNA, status=False, name="anna_old")
    result = world.run(ANNA, attempt=attempt)
    assert (result.operation, result.outcome) == (OperationName.DEACTIVATE, OutcomeName.DONE)
    assert world.accounts()["anna"]["active"] is False
    # The name is still wrong, and the next full sync says so: the fingerprint is not the user's.
    assert world.links.links[ANNA].fingerprint == ""
    assert world.run(ANNA).operation is OperationName.UPDATE


def test_a_name_of_which_nobody_knows_whether_it_got_there_is_looked_at(world):
    # Nothing else than the link tells: there is no version.
    world.links.links[ANNA] = world.links.links[ANNA]._replace(version=None)
    errors = iter([lost_answer()])
    world.target.after = lambda verb: next(errors, None)
    world.site.edit(ANNA, **BLOCKED | RENAMED)
    result = world.run(ANNA)
    # It may be carried out later than whatever is sent now: nobody has the user until it cannot any more.
    assert (result.outcome, result.unanswered) == (OutcomeName.PENDING, True)
    assert world.target.writes == ["create", "update"]
    world.site.edit(ANNA, name="anna")
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert {name: account["active"] for name, account in world.accounts().items()} == {"anna": False}


def test_a_name_is_not_sent_where_updates_are_off():
    world = World(manual=TriggerSettings(operations=ALL - {"update"}))
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    world.run(ANNA)
    world.site.edit(ANNA, status=False, name="anna_old")
    assert world.run(ANNA).changes == ("active",)
    assert world.accounts()["anna"]["active"] is False

"""A name that a blocked user gives up in Drupal is free there: their account must not keep it from the next user."""

from __future__ import annotations

import pytest

from config.settings import OperationName, TriggerSettings
from provisioning.errors import Permanent
from provisioning.model import OutcomeName
from tests.support.fakes import down
from tests.unit.provisioning.test_reconcile import ALL, ANNA, BERT, World


@pytest.fixture
def world() -> World:
    world = World()
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    world.run(ANNA)
    return world


def refuse_names(world: World, error: Exception) -> None:
    """A target that takes no other userName than the one it has."""
    update = world.target.update

    async def refusing(scim_id, changes, desired, version):
        if "userName" in changes.set:
            raise error
        return await update(scim_id, changes, desired, version)

    world.target.update = refusing


@pytest.mark.parametrize("blocked_first", [True, False])
def test_the_next_user_gets_the_name(world, blocked_first):
    for edit in ({"status": False}, {"name": "anna_old"})[:: 1 if blocked_first else -1]:
        world.site.edit(ANNA, **edit)
        if blocked_first:
            world.run(ANNA)
    world.site.add(BERT, name="anna")
    world.run(ANNA)
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


@pytest.mark.parametrize("error", [Permanent("no", status_code=400), down()])
def test_a_name_that_is_refused_keeps_nobody_active(world, error):
    refuse_names(world, error)
    world.site.edit(ANNA, status=False, name="anna_old")
    result = world.run(ANNA)
    assert (result.operation, result.outcome) == (OperationName.DEACTIVATE, OutcomeName.DONE)
    assert world.accounts()["anna"]["active"] is False
    # The name is still wrong, and the next full sync says so: the fingerprint is not the user's.
    assert world.links.links[ANNA].fingerprint == ""
    assert world.run(ANNA).operation is OperationName.UPDATE


def test_a_name_is_not_sent_where_updates_are_off():
    world = World(manual=TriggerSettings(operations=ALL - {"update"}))
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    world.run(ANNA)
    world.site.edit(ANNA, status=False, name="anna_old")
    assert world.run(ANNA).changes == ("active",)
    assert world.accounts()["anna"]["active"] is False

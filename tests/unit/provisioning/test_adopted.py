"""reconcile of accounts that are there and not linked, where an answer is lost: what of them is known to be ours."""

from __future__ import annotations

import pytest

from provisioning.model import OutcomeName
from tests.support.fakes import down
from tests.support.reconciling import ANNA


def adopted(world) -> None:
    """Redis was emptied; the account has a mail that the user has no more, and another name to be shown."""
    world.target.has(
        userName="anna", externalId=ANNA, displayName="Old", emails=[{"type": "work", "value": "a@b.test"}]
    )
    world.site.edit(ANNA, mail=None)


def test_what_is_not_to_be_taken_away_yet_is_not_forgotten_with_an_answer(world):
    """What else differs was sent, and its answer lost: the rest would have passed for known."""
    adopted(world)
    world.guard.budget = 0
    world.target.after = lambda verb: down() if verb == "update" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.HELD
    world.guard.budget = 10
    world.run(ANNA)
    assert "emails" not in world.accounts()["anna"]


@pytest.mark.parametrize("answered", [True, False])
def test_of_a_leaver_who_was_adopted_not_more_is_believed_to_be_known_than_is(world, answered):
    adopted(world)
    world.site.edit(ANNA, status=False)
    world.target.after = lambda verb: None if answered or verb != "update" else down()
    world.run(ANNA)
    world.target.after = lambda verb: None
    world.site.edit(ANNA, status=True)
    world.run(ANNA, attempt=2)
    account = world.accounts()["anna"]
    assert ("emails" in account, account["active"], account["displayName"]) == (False, True, "anna")


def test_what_others_have_set_is_not_taken_away_after_an_unanswered_adoption(world):
    """Found by its name alone: it says that it is ours only since the update of which nobody has heard."""
    scim_id = world.target.has(userName="anna", emails=[{"type": "work", "value": "by-hand@b.test"}])
    world.site.edit(ANNA, mail=None)
    world.target.after = lambda verb: down() if verb == "update" else None
    world.run(ANNA)
    assert world.target.accounts[scim_id]["externalId"] == ANNA
    world.target.after = lambda verb: None
    world.run(ANNA, attempt=2)
    assert "emails" in world.target.accounts[scim_id]

"""reconcile of users who left before it was known what had become of their create."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from config.settings import LeaverSettings, MappedValue, OperationName
from provisioning.errors import AmbiguousWrite, Missing, Outage, Permanent, Superseded
from provisioning.model import OutcomeName, Removal
from tests.support.fakes import down, lost_answer
from tests.support.reconciling import ANNA, BERT, World

WITHOUT = {"userName": MappedValue(value="name"), "active": MappedValue(value="status")}


def left_in_doubt(**changes: Any) -> World:
    """Anna's account was made, nobody heard of it, and she is blocked."""
    world = World(**changes)
    world.site.add(ANNA, name="anna")
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    world.target.after = lambda verb: None
    world.site.edit(ANNA, status=False)
    return world


def active(world: World) -> list[bool]:
    return [account["active"] for account in world.target.accounts.values()]


@pytest.mark.parametrize("how", ["the search does not see externalId", "it is not matched by"])
def test_an_account_with_their_external_id_is_found_by_their_name(how):
    """Some targets answer an externalId filter with nobody, whoever is there (DESIGN 5.3)."""
    searched = how == "the search does not see externalId"
    world = left_in_doubt(matching=("externalId", "userName") if searched else ("userName",))
    world.target.blind = frozenset({"externalId"})
    assert world.run(ANNA, attempt=2).operation is OperationName.DEACTIVATE
    assert active(world) == [False]


def test_an_account_that_nothing_shows_to_be_theirs_is_told_and_left_to_a_person():
    """Where the target keeps no externalId."""
    world = left_in_doubt(mapping=WITHOUT, matching=("userName",))
    told = world.run(ANNA, attempt=2)
    (scim_id,) = world.target.accounts
    assert (told.outcome, active(world)) == (OutcomeName.FAILED, [True])
    assert scim_id in told.detail
    world.target.touch(scim_id, active=False)
    assert [world.run(ANNA, attempt=attempt).outcome for attempt in (1, 2, 3)] == [
        *[OutcomeName.PENDING] * 2,
        OutcomeName.UNCHANGED,
    ]


@pytest.mark.parametrize(
    "changes",
    [{"leavers": LeaverSettings(blocked="keep")}, {"adopt": "never"}, {}],
    ids=["kept", "never this user's", "another's"],
)
def test_nobody_is_asked_about_an_account_that_may_stay(changes):
    world = left_in_doubt(mapping=WITHOUT, matching=("userName",), **changes)
    if not changes:
        world.site.add(BERT, name="anna")
        assert world.run(BERT).operation is OperationName.LINK
    assert world.run(ANNA, attempt=3).outcome is OutcomeName.UNCHANGED
    assert active(world) == [True]


def left_with(accounts: int) -> World:
    """And has more of them, of her uuid."""
    world = left_in_doubt()
    for number in range(2, accounts + 1):
        name = f"anna{number}"
        asyncio.run(world.target.create({"userName": name, "externalId": ANNA, "active": True}))
    return world


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_no_account_of_a_leaver_who_has_two_stays_active(lost):
    """lost: the update of which nobody hears."""
    world, updates = left_with(2), itertools.count()
    world.target.after = lambda verb: lost_answer() if verb == "update" and next(updates) == lost else None
    first = world.run(ANNA, attempt=2)
    assert first.outcome is (OutcomeName.DONE if lost == 2 else OutcomeName.PENDING)
    if lost != 2:
        assert world.run(ANNA, attempt=3).outcome in {OutcomeName.DONE, OutcomeName.UNCHANGED}
    assert active(world) == [False, False]
    assert world.run(ANNA, attempt=4).outcome is OutcomeName.UNCHANGED


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Permanent("no"), OutcomeName.FAILED),
        (Superseded("changed"), OutcomeName.PENDING),
        (AmbiguousWrite("500"), OutcomeName.PENDING),
    ],
)
def test_an_account_that_cannot_be_deactivated_keeps_none_of_the_others_active(refusal, outcome):
    world, refused = left_with(3), iter([refusal])
    world.target.before = lambda verb: next(refused, None) if verb == "update" else None
    assert world.run(ANNA, attempt=2).outcome is outcome
    assert sorted(active(world)) == [False, False, True]
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert active(world) == [False] * 3


def test_a_target_that_says_404_of_everybody_takes_nobodys_account_for_gone():
    """A proxy without its target. Were it believed, only the one that is linked then would be deactivated later."""
    world = left_with(2)
    world.target.before = lambda verb: {"update": Missing("no"), "probe": Outage("away")}.get(verb)
    with pytest.raises(Outage):
        world.run(ANNA, attempt=2)
    world.target.before = lambda verb: None
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert active(world) == [False, False]


def test_of_two_accounts_none_is_touched_while_the_removal_is_held():
    world = left_with(2)
    world.guard.budget = 0
    held = world.run(ANNA, attempt=2)
    assert (held.outcome, active(world)) == (OutcomeName.HELD, [True, True])
    assert "id-2" in held.detail
    # Whichever of them was shown.
    approved = Removal(OperationName.DEACTIVATE, "id-2")
    assert world.run(ANNA, attempt=2, approved=approved).outcome is OutcomeName.DONE
    assert active(world) == [False, False]


def test_a_leaver_with_two_accounts_gives_up_a_name_that_is_free_in_drupal():
    world = left_with(2)
    world.site.edit(ANNA, name="former")
    assert world.run(ANNA, attempt=2).outcome is OutcomeName.DONE
    assert sorted(world.accounts()) == ["anna2", "former"]


def test_it_is_not_forgotten_that_an_account_which_was_found_is_to_be_deleted():
    """Its user was known to have none; no listing that was read before says anything of them any more."""
    world = World(leavers=LeaverSettings(blocked="delete"))
    world.site.add(ANNA, name="anna", status=False)
    world.run(ANNA)
    world.target.has(userName="anna", externalId=ANNA)
    world.site.edit(ANNA, mail="edited")
    world.target.before = lambda verb: down() if verb == "delete" else None
    assert world.run(ANNA).outcome is OutcomeName.PENDING
    assert world.links.links[ANNA].in_doubt
    world.target.before = lambda verb: None
    assert world.run(ANNA, attempt=2).operation is OperationName.DELETE
    assert world.accounts() == {}

"""reconcile of users who leave: whose account is left, and what is believed of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.settings import LeaverSettings, MappedValue, OperationName
from provisioning.errors import Missing, Outage
from provisioning.model import OutcomeName, Presence
from tests.support.fakes import lost_answer
from tests.support.reconciling import ANNA, BERT, KEY, World, settings

BY_NUMBER = {
    "userName": MappedValue(value="name"),
    "externalId": MappedValue(value="timezone"),
    "active": MappedValue(value="status"),
}


@pytest.mark.parametrize("values", [{"status": False}, {"roles": ["other"]}], ids=["blocked", "out of scope"])
def test_another_users_account_with_the_same_external_id_is_left_alone(values):
    """One person with two Drupal users, matched by an employee number."""
    world = World(mapping=BY_NUMBER)
    world.site.add(ANNA, name="anna", timezone="employee 7")
    world.site.add(BERT, name="anna.old", timezone="employee 7", **values)
    world.run(ANNA)
    assert world.run(BERT).outcome is OutcomeName.UNCHANGED
    assert [account["active"] for account in world.target.accounts.values()] == [True]
    assert world.links.links[ANNA].scim_id in world.target.accounts
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED


def test_another_users_account_with_the_same_external_id_is_left_alone_though_nobody_is_linked_to_it():
    """On the first sync over accounts that are there, or after Redis was emptied, the blocked one may come first."""
    world = World(mapping=BY_NUMBER)
    world.site.add(ANNA, name="anna", timezone="employee 7")
    world.site.add(BERT, name="anna.old", timezone="employee 7", status=False)
    scim_id = world.target.has(userName="Anna", externalId="employee 7")
    result = world.run(BERT)
    assert result.outcome is OutcomeName.FAILED
    assert "another userName" in result.detail
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert (world.links.links[ANNA].scim_id, world.target.accounts[scim_id]["active"]) == (scim_id, True)
    world.site.edit(ANNA, status=False)
    world.links.links.clear()
    assert world.run(ANNA).operation is OperationName.DEACTIVATE


@pytest.mark.parametrize(
    "wrong",
    [
        {"matching": ("userName",)},
        {"mapping": {**settings().mapping, "externalId": MappedValue(value="uid")}},
    ],
    ids=["matching", "mapping"],
)
def test_that_there_is_no_account_is_believed_only_by_the_config_that_said_so(wrong):
    """Another tool made the account of somebody who is blocked, and the first config looked for it in vain."""
    before, after = World(**wrong), World()
    after.site, after.target, after.links = before.site, before.target, before.links
    after.reconciler = replace(
        after.reconciler, ports=replace(before.reconciler.ports, guard=after.guard, rewritten=after.rewritten)
    )
    before.site.add(ANNA, name="anna", status=False)
    scim_id = before.target.has(userName="somebody", externalId=ANNA)
    assert before.run(ANNA).outcome is OutcomeName.UNCHANGED
    requests = list(before.target.requests)
    assert before.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert before.target.requests == requests, "known by now"
    user = before.site._user(ANNA)  # what a full sync compares
    prints = {each.reconciler.compiled.fingerprint(user, KEY) for each in (before, after)}
    assert len(prints) == 2
    assert after.run(ANNA).operation is OperationName.DEACTIVATE
    assert before.target.accounts[scim_id]["active"] is False


INVITED = ("an update is lost", "somebody touched it", "the create is lost", "kept while out of scope")


@pytest.mark.parametrize("how", INVITED)
def test_what_its_target_made_inactive_is_deactivated_all_the_same(how):
    """An account is inactive until its invitation is accepted, which may be after its user has left."""
    world = World(leavers=LeaverSettings(out_of_scope="keep"))
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    create = world.target.create
    world.target.create = lambda resource: create({**resource, "active": False})
    lost = iter([lost_answer()])
    if how == "the create is lost":
        world.target.after = lambda verb: next(lost, None)
    world.run(ANNA)
    (scim_id,) = world.target.accounts
    if how == "an update is lost":
        world.target.before = lambda verb: next(lost, None) if verb == "update" else None
        world.site.edit(ANNA, mail="other@example.test")
        assert world.run(ANNA).outcome is OutcomeName.PENDING
    elif how == "somebody touched it":
        world.target.touch(scim_id, title="somebody else's")
    elif how == "kept while out of scope":
        world.site.edit(ANNA, roles=["other"])
        assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    sent = []
    update = world.target.update

    async def noted(*request):
        sent.append(dict(request[1].set))
        return await update(*request)

    world.target.update = noted
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA, attempt=2).operation is OperationName.DEACTIVATE
    assert sent[-1]["active"] is False
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED


def test_whoever_is_blocked_with_emptied_fields_is_deactivated_all_the_same():
    world = World(
        mapping={"userName": MappedValue(value="mail | lower"), "externalId": MappedValue(value="uuid")}
    )
    world.site.add(ANNA, mail="anna@example.test")
    world.run(ANNA)
    world.site.edit(ANNA, mail=None, status=False)
    assert world.run(ANNA).operation is OperationName.DEACTIVATE
    assert [account["active"] for account in world.target.accounts.values()] == [False]


def test_404_of_a_proxy_whose_target_is_away_forgets_nobody(world):
    world.run(ANNA)
    link = world.links.links[ANNA]
    world.site.edit(ANNA, status=False)
    there = world.target.before

    def away(verb: str) -> Missing | Outage:
        return Outage("no SCIM") if verb == "probe" else Missing("not there", status_code=404)

    world.target.before = away
    with pytest.raises(Outage):
        world.run(ANNA)
    assert world.links.links[ANNA].scim_id == link.scim_id
    world.target.before = there
    assert world.run(ANNA).operation is OperationName.DEACTIVATE


def test_an_answer_that_shows_the_account_active_is_no_deactivation(world):
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    update = world.target.update

    async def keeps_active(scim_id, changes, desired, version):
        world.target.requests.append("update")
        return await world.target.get(scim_id)

    world.target.update = keeps_active
    attempts = [world.run(ANNA, attempt=attempt) for attempt in (1, 2, 3)]
    assert [each.outcome for each in attempts] == [*[OutcomeName.PENDING] * 2, OutcomeName.FAILED]
    assert "still shows the account active" in attempts[-1].detail
    world.target.update = update
    assert world.run(ANNA).operation is OperationName.DEACTIVATE


def test_an_account_that_was_inactive_until_its_invitation_was_accepted_is_deactivated(world):
    create = world.target.create

    async def invites(resource):
        return await create({**resource, "active": False})

    world.target.create = invites
    made = world.run(ANNA)
    assert world.links.links[ANNA].may_be_active, "the guard counts it among those who have something to lose"
    assert "active" in made.detail
    assert "active" not in world.rewritten.seen
    world.target.touch(made.scim_id, active=True)
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA).operation is OperationName.DEACTIVATE
    assert world.target.accounts[made.scim_id]["active"] is False
    assert not world.links.links[ANNA].may_be_active


def test_whoever_was_rightly_without_an_account_costs_no_more_than_a_new_user(world):
    """Registered, and approved later."""
    world.target.unique = frozenset({"userName", "externalId"})
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    world.target.requests.clear()
    world.site.edit(ANNA, status=True)
    assert world.run(ANNA).operation is OperationName.CREATE
    assert world.target.requests == ["create"]


@pytest.mark.parametrize(
    ("values", "leaving"),
    [({"status": False}, Presence.BLOCKED), ({"roles": ["other"]}, Presence.OUT_OF_SCOPE)],
    ids=["blocked", "out of scope"],
)
def test_what_is_held_says_how_the_user_has_left(values, leaving):
    world = World()
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.guard.budget = 0
    world.site.edit(ANNA, **values)
    result = world.run(ANNA)
    assert (result.outcome, result.leaving) == (OutcomeName.HELD, leaving)

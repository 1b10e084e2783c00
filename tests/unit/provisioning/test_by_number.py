"""Accounts recognised by an externalId that is not the uuid, such as an employee number: two may have one, or somebody none."""

from __future__ import annotations

from config.settings import MappedValue, OperationName
from provisioning.model import OutcomeName
from tests.support.fakes import lost_answer
from tests.support.reconciling import ANNA, BERT, World

BY_NUMBER = {"userName": MappedValue(value="name"), "externalId": MappedValue(value="timezone")}


def test_an_account_is_not_taken_by_a_number_from_whom_it_is_named_after():
    """Two users have one employee number by a slip of the pen, and nobody is linked yet, or any more."""
    world = World(mapping=BY_NUMBER)
    world.site.add(ANNA, name="anna", timezone="employee 7")
    world.site.add(BERT, name="bert", timezone="employee 7")
    scim_id = world.target.has(userName="anna", externalId="employee 7")
    result = world.run(BERT)
    assert (result.outcome, "belongs to another Drupal user" in result.detail) == (OutcomeName.FAILED, True)
    assert world.run(ANNA).scim_id == scim_id
    assert world.accounts()["anna"]["id"] == scim_id
    world.site.edit(BERT, timezone="employee 8")
    assert world.run(BERT).operation is OperationName.CREATE


def test_an_account_is_found_by_its_number_whatever_nobody_is_named():
    world = World(mapping=BY_NUMBER)
    world.site.add(ANNA, name="anna", timezone="employee 7")
    scim_id = world.target.has(userName="anna@before.example", externalId="employee 7")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert world.accounts()["anna"]["id"] == scim_id


def test_the_name_alone_takes_no_account_from_whose_number_it_has():
    world = World(mapping=BY_NUMBER)
    world.site.add(ANNA, name="anna", timezone="employee 7")
    scim_id = world.run(ANNA).scim_id
    world.links.links.clear()
    world.site.edit(ANNA, name="anna_married")
    world.site.add(BERT, name="anna", timezone="employee 8")
    assert world.run(ANNA).scim_id == scim_id
    assert world.run(BERT).operation is OperationName.CREATE


def test_a_create_without_an_answer_is_not_repeated_for_whom_nobody_can_look_for():
    """Accounts are recognised by an employee number, and this one has none; the target does not keep names unique."""
    world = World(mapping=BY_NUMBER, matching=("externalId",))
    world.target._name_is_free = lambda resource: None
    world.site.add(ANNA, name="anna", timezone=None)
    world.target.after = lambda verb: lost_answer() if verb == "create" else None
    world.run(ANNA)
    world.target.after = lambda verb: None
    refused = world.run(ANNA, attempt=2)
    (scim_id,) = world.target.accounts
    assert (refused.outcome, scim_id in refused.detail) == (OutcomeName.FAILED, True)
    world.target.accounts.clear()
    assert world.run(ANNA).operation is OperationName.CREATE
    assert list(world.accounts()) == ["anna"]

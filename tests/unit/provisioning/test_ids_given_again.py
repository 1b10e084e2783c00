"""Targets that count their ids on from the highest that is left give one again, after a deletion there or from a backup."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from config.settings import LeaverSettings, OperationName
from provisioning.model import OutcomeName
from provisioning.preview import preview
from tests.support.reconciling import ANNA, BERT, World


@pytest.fixture(params=[True, False], ids=["ETags", "no ETags"])
def world(request) -> World:
    """Anna's account was deleted at the target, and Bert's new one has its id. Anna is still linked to it."""
    world = World(leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    made = world.run(ANNA)
    if not request.param:
        world.links.links[ANNA] = world.links.links[ANNA]._replace(version=None)
    world.target.accounts.clear()
    ids: Iterator[int] = iter([int(str(made.scim_id).removeprefix("id-")), 100, 101])
    world.target._ids = ids
    world.site.add(BERT, name="bert", mail="bert@example.test")
    result = world.run(BERT)
    assert (result.outcome, "another Drupal user's account" in result.detail) == (OutcomeName.FAILED, True)
    return world


def test_nothing_of_one_user_is_written_over_another(world):
    berts = dict(world.accounts()["bert"])
    world.site.edit(ANNA, mail="new@example.test")
    assert world.run(ANNA).operation is OperationName.CREATE
    assert world.accounts()["bert"] == berts
    assert world.accounts()["anna"]["externalId"] == ANNA
    assert world.run(BERT).outcome is OutcomeName.DONE
    assert {user: link.scim_id for user, link in world.links.links.items()} == {
        account["externalId"]: account["id"] for account in world.accounts().values()
    }


def test_a_leaver_does_not_take_the_other_along(world):
    world.site.edit(ANNA, status=False)
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert world.accounts()["bert"]["active"] is True


def test_nor_one_who_is_gone(world):
    world.site.delete(ANNA)
    assert world.run(ANNA).outcome is OutcomeName.UNCHANGED
    assert list(world.accounts()) == ["bert"]


def test_a_dry_run_says_so(world):
    user, link = world.site._user(ANNA), world.links.links[ANNA]
    shown = asyncio.run(preview(world.reconciler, ANNA, user, link))
    assert (shown.situation, shown.operation, shown.match) == ("missing", OperationName.CREATE, None)


def test_an_external_id_that_nobody_has_is_put_right(world):
    """Somebody's slip of the pen at the target is no other user."""
    scim_id = world.accounts()["bert"]["id"]
    world.target.touch(scim_id, userName="anna", externalId="0c000000-0000-4000-8000-00000000000c")
    world.site.edit(ANNA, mail="new@example.test")
    assert world.run(ANNA).operation is OperationName.UPDATE
    assert (world.accounts()["anna"]["id"], world.accounts()["anna"]["externalId"]) == (scim_id, ANNA)


def test_a_target_that_writes_a_uuid_in_capitals_means_the_same_user(world):
    scim_id = world.accounts()["bert"]["id"]
    world.site.users[ANNA.upper()] = world.site.users[ANNA]  # Drupal knows no letter case of a uuid
    world.target.touch(scim_id, userName="anna", externalId=ANNA.upper())
    world.site.edit(ANNA, mail="new@example.test")
    world.run(ANNA)
    assert world.links.links[ANNA].scim_id == scim_id

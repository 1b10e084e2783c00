"""A former user's account goes while the next user of that name is looked for."""

from __future__ import annotations

import pytest

from config.settings import LeaverSettings
from provisioning.model import OutcomeName
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

    async def overtaken(attribute, value):
        found = await find(attribute, value)
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

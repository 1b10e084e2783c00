"""Two users to whom one account answers, worked on at the same moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from config.settings import MappedValue, Trigger
from provisioning.model import Job, Link, OutcomeName, Result
from tests.support.fakes import FakeLinks, pause
from tests.support.reconciling import ANNA, BERT, World


class Links(FakeLinks):
    """Every question takes a while, as one to Redis does, and what it does it does at once."""

    async def owner(self, scim_id: str) -> str | None:
        await pause()
        return self._owner(scim_id)

    async def drop(self, user: str, scim_id: str, *, holder: str = "") -> bool:
        await pause()
        return await super().drop(user, scim_id)

    async def put(
        self, user: str, link: Link, *, instead_of: str = "", holder: str = "", made: bool = False
    ) -> bool:
        await pause()
        before = self.links.get(user, link)
        refused = before.scim_id not in {"", link.scim_id, instead_of}
        if refused or (link.scim_id and self._owner(link.scim_id) not in {None, user}):
            return False
        self.links[user] = link
        return True

    def _owner(self, scim_id: str) -> str | None:
        return next((user for user, link in self.links.items() if link.scim_id == scim_id), None)


@pytest.mark.parametrize("behind", range(12))
def test_a_claim_is_not_taken_from_a_user_who_is_there(behind):
    """Bert is some steps behind Anna: nobody has the account when he looks, and she has when he claims it."""
    mapping = {"userName": MappedValue(value="langcode"), "externalId": MappedValue(value="timezone")}
    world = World(mapping=mapping, matching=("userName",), adopt="always")
    world.links = Links()
    world.reconciler = replace(world.reconciler, ports=replace(world.reconciler.ports, links=world.links))
    scim_id = world.target.has(userName="shared", externalId="of a tool we had before")
    for user in (ANNA, BERT):
        world.site.add(user, langcode="shared", timezone=user)

    async def one(user: str, steps: int) -> Result:
        users = await world.site.read([user])
        for _ in range(steps):
            await pause()
        job = Job("acme", user, {Trigger.MANUAL: None}, 1)
        return await world.reconciler.reconcile(job, users[user], None, world.lease)

    async def both() -> list[Result]:
        return await asyncio.gather(one(ANNA, 0), one(BERT, behind))

    done = [result.user for result in asyncio.run(both()) if result.outcome is OutcomeName.DONE]
    assert len(done) == 1
    assert world.links.links[done[0]].scim_id == scim_id
    assert world.target.accounts[scim_id]["externalId"] == done[0]
    assert world.target.writes == ["update"]

"""Answers to Bulk requests that are lost after the server acted: the real reconcile, over a real server, makes nobody twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import (
    LeaverSettings,
    LimitSettings,
    MappedValue,
    OperationName,
    Secret,
    TargetSettings,
    Trigger,
    TriggerSettings,
)
from provisioning.mapping import compile_target
from provisioning.model import Job, OutcomeName, Result
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from scim.target import open_target
from tests.faults.proxy import FaultProxy
from tests.faults.target_faults import Call, Reply, bulk_half, bulk_lost, server_error
from tests.support.fakes import FakeGuard, FakeLinks, FakeRewritten, FakeSite, HeldLease
from tests.support.scim_server import ScimServer, scim_server

ALL = frozenset({"create", "update", "deactivate", "delete"})
USERS = [f"0e000000-0000-4000-8000-{number:012d}" for number in range(30)]


class Unlucky:
    """The next so many Bulk requests meet the fault; everything else passes."""

    def __init__(self, fault: Callable[[Call], Awaitable[Reply]]) -> None:
        self.fault = fault
        self.left = 0
        self.lost = 0

    async def __call__(self, call: Call) -> Reply:
        if not call.bulk or not self.left:
            return await call.forward()
        self.left -= 1
        self.lost += 1
        return await self.fault(call)


class World:
    def __init__(self, server: ScimServer, proxy: FaultProxy, unlucky: Unlucky, folder: Path) -> None:
        self.server, self.proxy, self.unlucky = server, proxy, unlucky
        self.site, self.links = FakeSite(), FakeLinks()
        self.secret = folder / "token"
        self.secret.write_text(server.token, encoding="utf-8")
        for uuid in USERS:
            self.site.add(uuid, name=f"user-{uuid[-3:]}", mail="a")

    def settings(self) -> TargetSettings:
        return TargetSettings(
            name="acme",
            base_url=self.proxy.base_url,
            token=Secret(file=self.secret),
            mapping={
                "userName": MappedValue(value="name"),
                "externalId": MappedValue(value="uuid"),
                "active": MappedValue(value="status"),
                "title": MappedValue(value="mail"),
            },
            leavers=LeaverSettings(blocked="deactivate", deleted="delete"),
            manual=TriggerSettings(operations=ALL),
            limits=LimitSettings(timeout_seconds=30),
        )

    def run(self, attempt: int = 1) -> list[Result]:
        """Everybody once, all at once."""

        async def body() -> list[Result]:
            settings = self.settings()
            target = open_target(settings)
            ports = Ports(self.site, target, self.links, FakeGuard(), FakeRewritten())
            reconciler = Reconciler(settings, compile_target(settings), b"k" * 32, ports, random.random)
            users, links = await self.site.read(USERS), await self.links.get_many(USERS)
            try:
                return await asyncio.gather(
                    *(
                        reconciler.reconcile(
                            Job("acme", uuid, {Trigger.MANUAL: None}, 1, attempt=attempt),
                            users.get(uuid),
                            links.get(uuid),
                            HeldLease(),
                        )
                        for uuid in USERS
                    )
                )
            finally:
                await target.close()

        return asyncio.run(body())

    def accounts(self) -> dict[str, tuple[str, Any, bool]]:
        found = [
            (each["externalId"], (each["userName"], each.get("title"), each["active"]))
            for each in self.server.users()
        ]
        assert len(found) == len(dict(found)), "two accounts for one user"
        return dict(found)

    def wanted(self) -> dict[str, tuple[str, Any, bool]]:
        return {uuid: (user["name"], user["mail"], user["status"]) for uuid, user in self.site.users.items()}


@pytest.fixture(params=[bulk_lost, bulk_half, server_error], ids=lambda fault: fault.__name__)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    unlucky = Unlucky(request.param)
    with scim_server() as server, FaultProxy(server.base_url, 7, {"unlucky": unlucky}) as proxy:
        proxy.weights = {"unlucky": 1.0}
        yield World(server, proxy, unlucky, tmp_path)


def outcomes(results: list[Result]) -> Counter[OutcomeName]:
    return Counter(each.outcome for each in results)


def test_creates_whose_answer_was_lost_are_found_and_not_made_again(world):
    world.unlucky.left = 2
    first = world.run()
    assert outcomes(first)[OutcomeName.PENDING] > 0
    assert set(outcomes(first)) <= {OutcomeName.PENDING, OutcomeName.DONE}
    assert outcomes(world.run(attempt=2))[OutcomeName.PENDING] == 0
    assert world.accounts() == world.wanted()
    made = [each for each in world.proxy.record.exchanges if each.method == "POST" and each.path == "/Users"]
    assert all(count == 1 for count in Counter(each.user for each in made if each.reached).values())
    assert {each.operation for each in world.run(attempt=3)} == {OperationName.NONE}


def test_updates_deactivations_and_deletions_whose_answer_was_lost_are_put_right(world):
    world.run()
    for uuid in USERS[:10]:
        world.site.edit(uuid, mail="b")
    for uuid in USERS[10:20]:
        world.site.edit(uuid, status=False)
    for uuid in USERS[20:]:
        world.site.delete(uuid)
    world.unlucky.left = 2
    world.run()
    assert world.unlucky.lost == 2
    results = world.run(attempt=2)
    assert set(outcomes(results)) <= {OutcomeName.DONE, OutcomeName.UNCHANGED}
    assert world.accounts() == world.wanted()

"""DESIGN 1.1 on the real reconcile, ledger and links: random edits, duplicates, lost messages, lost answers and workers
that die at any moment end with the target equal to the site, one account a user."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.settings import (
    GuardSettings,
    LeaverSettings,
    LimitSettings,
    MappedValue,
    TargetSettings,
    Trigger,
    TriggerSettings,
)
from provisioning.applying import LeaseLostError
from provisioning.errors import ProvisioningError
from provisioning.mapping import compile_target
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from state.entries import DeadLetter
from state.ledger import INTERACTIVE, Ledger
from state.links import LinkStore
from tests.support.fakes import FakeGuard, FakeRewritten, FakeSite, FakeTarget, down, lost_answer
from tests.support.reconciling import ALL, KEY

USERS = [f"0d000000-0000-4000-8000-{number:012d}" for number in range(4)]
NAMES = ["ann", "bob", "cat", "dan", "eve", "fay"]
LEASE_SECONDS = 0.04


@dataclass
class TimedLease:
    """As workers.leases: over on this side before it is over in Redis, so a slow machine breaks no rule."""

    ends_at: float
    holder: str

    def valid(self) -> bool:
        return time.monotonic() < self.ends_at

    def waive(self) -> None:
        self.ends_at = float("inf")


def settings(deleted: str) -> TargetSettings:
    return TargetSettings(
        name="acme",
        base_url="https://acme.example",
        mapping={
            "userName": MappedValue(value="name"),
            "externalId": MappedValue(value="uuid"),
            "active": MappedValue(value="status"),
            "title": MappedValue(value="mail"),
        },
        leavers=LeaverSettings(blocked="deactivate", deleted=deleted),
        manual=TriggerSettings(operations=ALL),
        limits=LimitSettings(max_attempts=100),
        guard=GuardSettings(),
    )


class World:
    def __init__(self, seed: int, deleted: str) -> None:
        self.random = random.Random(seed)
        self.redis = fakeredis.FakeAsyncRedis(decode_responses=True)
        self.site, self.target = FakeSite(), FakeTarget()
        target_settings = settings(deleted)
        compiled = compile_target(target_settings)
        self.ledger = Ledger(self.redis, "acme")
        self.links = LinkStore(self.redis, "acme", target_settings.mapping)
        ports = Ports(self.site, self.target, self.links, FakeGuard(), FakeRewritten())
        self.reconciler = Reconciler(target_settings, compiled, KEY, ports, random=lambda: 0.0)
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0
        self.failed: Sequence[DeadLetter] = ()

    def faults(self, *, on: bool) -> None:
        def maybe(error: Any, share: float) -> Any:
            return lambda verb: error() if on and self.random.random() < share else None

        self.target.before = maybe(down, 0.1)
        self.target.after = maybe(lost_answer, 0.15)

    def edit(self) -> str:
        """What an administrator may do next; the user it was done to."""
        user = self.random.choice(USERS)
        free = [name for name in NAMES if name not in {each["name"] for each in self.site.users.values()}]
        if user not in self.site.users:
            self.site.add(user, name=self.random.choice(free))
        elif self.random.random() < 0.2:
            self.site.delete(user)
        else:
            change = self.random.choice(["name", "mail", "status"])
            value = {
                "name": self.random.choice(free),
                "mail": self.random.choice([None, "a", "b"]),
                "status": self.random.random() < 0.7,
            }
            self.site.edit(user, **{change: value[change]})
        return user

    async def work(self, owner: str, lease_seconds: float = LEASE_SECONDS) -> None:
        """One message's worth of work, with no clean-up: a worker that dies runs nothing more."""
        lease = TimedLease(time.monotonic() + lease_seconds / 2, owner)
        for job in await self.ledger.claim(USERS, owner, lease_seconds):
            users = await self.site.read([job.user])
            links = await self.links.get_many([job.user])
            self.under_way[job.user] = self.under_way.get(job.user, 0) + 1
            self.most_at_once = max(self.most_at_once, *self.under_way.values())
            try:
                result = await self.reconciler.reconcile(job, users.get(job.user), links.get(job.user), lease)
            except (ProvisioningError, LeaseLostError):
                await self.ledger.hand_back([job.user], owner)
                continue
            finally:
                self.under_way[job.user] -= 1
            # Nobody waits here.
            at_once = result._replace(retry_after_seconds=0.0, unanswered=False)
            await self.ledger.settle(job, owner, at_once)

    async def quiet(self) -> None:
        """Faults off and one more sync: everybody is submitted once more and worked on until nothing is left."""
        self.faults(on=False)
        links = [user async for page in self.links.scan() for user in page]
        await self.ledger.mark_pending(sorted({*self.site.users, *links, *USERS}), Trigger.MANUAL)
        for turn in range(60):
            await self.ledger.sweep(INTERACTIVE)
            # Nobody dies any more, and on a busy machine the work takes its time.
            await self.work(f"last-{turn}", lease_seconds=10.0)
            counts = await self.ledger.counts()
            if not counts.pending and not counts.running:
                self.failed = await self.ledger.dead_letters()
                if not self.failed:
                    return
                await self.ledger.retry([letter.user for letter in self.failed])
            if turn in {20, 40}:
                await self.part_those_who_exchange_names()
            await asyncio.sleep(LEASE_SECONDS / 4)
        raise AssertionError(f"never came to rest: {[letter.detail for letter in self.failed]}")

    async def part_those_who_exchange_names(self) -> None:
        """What docs/targets.md tells a person to do: users who have exchanged names wait for each other, until one of them has
        a third name; here that one keeps it.
        """
        accounts = {each["externalId"]: each["userName"] for each in self.target.accounts.values()}
        wanted = {uuid: user["name"] for uuid, user in self.site.users.items()}
        for uuid, name in wanted.items():
            met, holder = [uuid], _holder(accounts, name)
            while holder is not None and holder not in met and holder in wanted:
                met.append(holder)
                holder = _holder(accounts, wanted[holder])
            if holder == uuid and len(met) > 1:
                self.site.edit(uuid, name=f"third-{name}")
                await self.ledger.mark_pending([uuid], Trigger.MANUAL)
                return

    def check(self, deleted: str) -> None:
        accounts = list(self.target.accounts.values())
        owners = [account["externalId"] for account in accounts]
        assert len(owners) == len(set(owners)), "two accounts for one user"
        active = {account["externalId"]: account for account in accounts if account["active"]}
        wanted = {uuid: user for uuid, user in self.site.users.items() if user["status"]}
        assert set(active) == set(wanted)
        for uuid, user in wanted.items():
            assert (active[uuid]["userName"], active[uuid].get("title")) == (user["name"], user["mail"])
        if deleted == "delete":
            assert set(owners) <= set(self.site.users)


def _holder(accounts: dict[str, str], name: str) -> str | None:
    """Whose account has a name."""
    return next((uuid for uuid, held in accounts.items() if held == name), None)


async def schedule(world: World, steps: int) -> None:
    world.faults(on=True)
    tasks: list[asyncio.Task[None]] = []
    for step in range(steps):
        action = world.random.random()
        if action < 0.4:
            user = world.edit()
            # A lost message is a user who is pending without one: the sweeper's business.
            await world.ledger.mark_pending([user], Trigger.MANUAL)
        elif action < 0.8:
            tasks.append(asyncio.create_task(world.work(f"w{step}")))
        elif action < 0.9 and tasks:
            world.random.choice(tasks).cancel()
        else:
            await asyncio.sleep(LEASE_SECONDS * world.random.random() * 2)
            await world.ledger.sweep(INTERACTIVE)
        for _ in range(world.random.randrange(6)):
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("deleted", ["delete"])
@hypothesis_settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 40))
def test_every_schedule_ends_with_the_target_equal_to_the_site(deleted, seed, steps):
    async def run() -> None:
        world = World(seed, deleted)
        await schedule(world, steps)
        await world.quiet()
        world.check(deleted)

    asyncio.run(run())


def test_users_who_exchanged_names_wait_for_each_other_until_one_has_a_third():
    async def run() -> None:
        world = World(1, "delete")
        for user, name in zip(USERS, NAMES[:3], strict=False):
            world.site.add(user, name=name)
        await world.quiet()
        for user, name in zip(USERS, (*NAMES[1:3], NAMES[0]), strict=False):
            world.site.edit(user, name=name)
        await world.quiet()
        world.check("delete")
        assert any(user["name"].startswith("third-") for user in world.site.users.values())

    asyncio.run(run())

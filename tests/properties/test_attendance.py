"""Whatever workers and administrators do while a scan goes on, nobody who was gone before is missed, and nobody who is
there is taken for gone."""

from __future__ import annotations

import asyncio
import random

import fakeredis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from producers.attendance import Attendance
from provisioning.model import Link
from state.links import LinkStore
from tests.support.fakes import FakeSite

USERS = [f"0e000000-0000-4000-8000-{number:012d}" for number in range(8)]
SETTLED = "!settled"


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.links = LinkStore(fakeredis.FakeAsyncRedis(decode_responses=True), "acme", ())
        self.site = FakeSite()
        for user in USERS:
            self.site.add(user)
        self.uids = {user: self.site.users[user]["uid"] for user in USERS}

    async def something(self) -> None:
        """What may happen to somebody: leaving, coming back, being worked on."""
        user = self.random.choice(USERS)
        there = user in self.site.users
        match self.random.choice(["site", "work", "work", "drop"]):
            case "site" if there:
                self.site.delete(user)
            case "site":
                self.site.add(user)
                self.site.users[user]["uid"] = self.uids[user]
            case "work":
                print_now = "print" if there else self.random.choice([SETTLED, "!of another policy"])
                assert await self.links.put(user, Link(f"id-{user}", None, print_now, {}))
            case "drop":
                assert await self.links.drop(user, f"id-{user}")

    async def some_things(self, most: int) -> None:
        for _ in range(self.random.randint(0, most)):
            await self.something()

    async def scan(self, calm: bool) -> tuple[set[str], set[str]]:
        """Who is found to be gone, and whom the scan has seen."""
        attendance = await Attendance.begin(self.links, self.site, SETTLED)
        seen: set[str] = set()
        after, size = 0, self.random.randint(1, 4)
        while page := [user async for users in self.site.scan(after) for user in users][:size]:
            await self.some_things(0 if calm else 1)
            attendance.count(page, await self.links.fingerprints([user.uuid for user in page]))
            seen |= {user.uuid for user in page}
            after = page[-1].uid
            await self.some_things(0 if calm else 1)
        return {user async for users in attendance.gone() for user in users}, seen

    async def linked(self) -> set[str]:
        return {
            user
            async for links in self.links.scan()
            for user, link in links.items()
            if link.fingerprint != SETTLED
        }


@given(seed=st.integers(0, 2**32), calm=st.booleans())
@hypothesis_settings(max_examples=300, deadline=None)
def test_whoever_has_a_link_and_is_not_there_is_found(seed: int, calm: bool) -> None:
    async def body() -> None:
        world = World(seed)
        await world.some_things(30)
        found, seen = await world.scan(calm)
        there = set(world.site.users)
        # Whoever left after having been seen is for the next scan.
        assert await world.linked() - there - seen <= found
        assert not found & there
        if calm:
            assert found == await world.linked() - there

    asyncio.run(body())

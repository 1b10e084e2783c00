"""Retry-After is kept: over real HTTP and a real Valkey, two processes' worth of throttles, nothing arrives before it is
over but what was under way.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import httpx
import pytest
import redis.asyncio

from config.settings import MappedValue, Secret, TargetSettings
from provisioning.errors import Throttled
from scim.authorization import authorization
from scim.client import ScimClient
from scim.consequences import consequence_of
from scim.errors import TooManyRequests
from scim.transport import Transport
from scim.wire import Wire
from scim.writes import SingleRequests
from state.rate import Rate
from tests.support.scripted_target import Answer, Request, ScriptedTarget
from workers.concurrency import Concurrency
from workers.throttle import LOOK_SECONDS, Throttle

RETRY_AFTER = 1


@dataclass
class Pushing:
    """Answers 429, or what status says, to the request with that number."""

    number: int
    status: int
    arrived: list[float] = field(default_factory=list)
    pushed_at: float = 0.0

    def __call__(self, request: Request) -> Answer:
        self.arrived.append(time.monotonic())
        if len(self.arrived) == self.number:
            self.pushed_at = time.monotonic()
            return Answer(self.status, headers={"Retry-After": str(RETRY_AFTER)})
        return Answer(body={"totalResults": 0})


@pytest.mark.parametrize("status", [429, 403])
def test_nothing_is_sent_before_retry_after_is_over_by_any_process(redis_url, tmp_path, status):
    (tmp_path / "token").write_text("token")
    pushing = Pushing(60, status)

    async def process(settings: TargetSettings, until: float) -> int:
        """Ten at a time, as long as it is told."""
        client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
        throttle = Throttle(Concurrency(10), Rate(client, "acme"))
        wire = Wire(10)
        async with httpx.AsyncClient(transport=wire) as http:
            transport = Transport(settings.base_url, wire, 5, authorization(settings, http), throttle)
            target, refused = ScimClient(transport, SingleRequests(transport)), 0

            async def work() -> None:
                nonlocal refused
                while time.monotonic() < until:
                    try:
                        await target.query('userName eq "anna"')
                    except TooManyRequests:
                        refused += 1

            await asyncio.gather(*(work() for _ in range(10)))
        await client.aclose()
        return refused

    async def both(settings: TargetSettings) -> list[int]:
        until = time.monotonic() + 2.5
        return await asyncio.gather(process(settings, until), process(settings, until))

    with ScriptedTarget(pushing) as server:
        settings = TargetSettings(
            name="acme", base_url=server.base_url, token=Secret(file=tmp_path / "token"),
            mapping={"userName": MappedValue(value="name")},
        )  # fmt: skip
        assert sum(asyncio.run(both(settings))) == 1
    # The other process hears of it within LOOK_SECONDS, and what was under way arrives.
    closed = (pushing.pushed_at + LOOK_SECONDS + 0.25, pushing.pushed_at + RETRY_AFTER)
    assert [each for each in pushing.arrived if closed[0] < each < closed[1]] == []
    after = [each for each in pushing.arrived if each >= closed[1]]
    assert after
    # One after the other, though twenty had waited.
    assert len([each for each in after if each < closed[1] + 0.1]) < 20


def test_a_throttle_that_refuses_is_the_target_asking_to_wait():
    error = consequence_of(TooManyRequests(429, retry_after_seconds=57.0), writing=True)
    assert isinstance(error, Throttled)
    assert error.retry_after_seconds == pytest.approx(57)

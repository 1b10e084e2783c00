"""The gate of a target on a real Valkey: when it closes, and when it opens again."""

from __future__ import annotations

import asyncio

from state.gate import FAILURES, Gate
from tests.support.valkey import with_redis


def test_outages_in_a_row_quarantine_and_a_success_between_them_does_not(redis_url):
    async def body(client):
        gate = Gate(client, "acme")
        for _ in range(FAILURES - 1):
            assert not await gate.failed("down", certain=False)
        await gate.worked()
        for _ in range(FAILURES - 1):
            assert not await gate.failed("down", certain=False)
        assert await gate.failed("down", certain=False)
        assert not await gate.failed("down", certain=False)
        health = await gate.health()
        assert (health.state, health.reason) == ("quarantined", "down")
        assert await gate.recover()
        assert (await gate.health()).open

    with_redis(redis_url, body)


def test_a_target_that_fails_again_after_a_probe_is_left_alone_at_once_and_for_longer(redis_url):
    """A probe only reads; what failed may have been writes."""

    async def body(client):
        gate, waits = Gate(client, "acme"), []
        for _ in range(FAILURES):
            await gate.failed("500", certain=False)
        for _ in range(3):
            await client.hset("scimpipe:{acme}:gate", "probe_at", 0)
            assert await gate.probe_due()
            assert await gate.recover()
            assert (await gate.health()).careful
            assert await gate.failed("500", certain=False)
            waits.append(int(await client.hget("scimpipe:{acme}:gate", "probe_wait")))
        assert waits == [2_000, 4_000, 8_000]
        await gate.recover()
        await gate.worked()
        assert not (await gate.health()).careful
        assert not await gate.failed("500", certain=False)

    with_redis(redis_url, body)


def test_a_success_in_one_process_ends_a_run_of_outages_in_another(redis_url):
    """Each message begins with a look at the gate. One user over whom requests fail must not be an outage."""

    async def body(client):
        failing, working = Gate(client, "acme"), Gate(client, "acme")
        await working.worked()
        for _ in range(2 * FAILURES):
            assert not await failing.failed("no answer", certain=False)
            await working.health()
            await working.worked()

    with_redis(redis_url, body)


def test_a_rejected_credential_quarantines_at_once_and_is_probed_by_one_at_a_time(redis_url):
    async def body(client):
        gate = Gate(client, "acme")
        assert await gate.failed("401", certain=True)
        assert not await gate.probe_due()
        await asyncio.sleep(1.05)
        assert await gate.probe_due()
        assert not await Gate(client, "acme").probe_due()

    with_redis(redis_url, body)


def test_pausing_and_throttling(redis_url):
    async def body(client):
        gate = Gate(client, "acme")
        assert await gate.throttle(10)
        assert not await gate.throttle(1)
        assert 9 < (await gate.health()).throttled_seconds <= 10
        assert await gate.pause()
        assert (await gate.health()).state == "paused"
        assert await gate.resume()
        assert (await gate.health()).throttled_seconds == 0

    with_redis(redis_url, body)

"""The moments processes share, on a real Valkey: each Rate here stands for a process."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from state.gate import Gate
from state.rate import AHEAD_MS, FORGOTTEN_MS, Moments, Rate
from tests.support.valkey import with_redis

PACE, GATE = "scimpipe:{acme}:pace", "scimpipe:{acme}:gate"


def on_redis(url, body):
    async def with_two(client):
        await body(client, Rate(client, "acme"), Rate(client, "acme"))

    with_redis(url, with_two)


async def server_ms(client) -> float:
    seconds, micros = await client.time()
    return seconds * 1000 + micros / 1000


async def set_rate(client, per_second: float, **more: float) -> None:
    opened = await server_ms(client) - 1
    fields = {"per_second": per_second, "doubt": 0, "level": 60, "burst": 1, "burst_ms": 0, "opened": opened}
    await client.hset(PACE, mapping={**fields, "emptied": opened - 1000, **more})


def test_a_target_that_never_said_429_has_no_rate_and_nothing_is_written(redis_url):
    async def body(client, one, other):
        assert await one.take(5) == Moments()
        assert await other.take(1, urgent=True) == Moments()
        assert await client.keys("*") == []

    on_redis(redis_url, body)


def test_no_two_processes_are_given_the_same_moment_and_none_comes_too_soon(redis_url):
    async def body(client, one, other):
        await set_rate(client, 200)
        taken = []
        for _ in range(30):
            for rate in (one, other):
                moments = await rate.take(3)
                taken += [moments.moment(number) for number in range(moments.count)]
            await asyncio.sleep(0.005)
        assert len(taken) > 10
        assert min(b - a for a, b in itertools.pairwise(taken)) > 4.9

    on_redis(redis_url, body)


def test_work_that_can_wait_takes_moments_a_short_while_ahead_and_a_person_takes_the_next_one(redis_url):
    async def body(client, bulk, interactive):
        await set_rate(client, 100)
        taken = await bulk.take(1000)
        # 50 ms ahead, and the 20 ms that may be made up for.
        assert 1 <= taken.count <= 8
        assert taken.first + (taken.count - 1) * taken.between <= AHEAD_MS / 1000 + 0.02
        refused = await bulk.take(1000)
        assert refused.count == 0
        assert 0 < refused.first < 0.05
        next_one = await interactive.take(1, urgent=True)
        assert next_one.count == 1
        assert next_one.moment(0) == pytest.approx(taken.moment(taken.count), abs=0.1)
        after = await interactive.take(1, urgent=True)
        assert after.moment(0) == pytest.approx(next_one.moment(1), abs=0.1)

    on_redis(redis_url, body)


def test_at_a_low_rate_a_person_waits_for_no_more_than_the_next_moment(redis_url):
    async def body(client, bulk, interactive):
        await set_rate(client, 0.1)
        assert (await bulk.take(50)).count == 1
        assert (await bulk.take(50)).count == 0
        assert 9 < (await interactive.take(1, urgent=True)).first <= 10

    on_redis(redis_url, body)


def test_a_gate_closed_by_one_is_closed_for_all_and_nobody_is_given_a_moment(redis_url):
    async def body(client, one, other):
        await set_rate(client, 100)
        await one.close(20)
        for rate in (one, other):
            moments = await rate.take(5, urgent=True)
            assert 19 < moments.closed < 20.1
            assert moments.count == 0
        assert 19 < (await Gate(client, "acme").health()).throttled_seconds < 20.1
        await one.close(5)
        assert (await other.take(1)).closed > 19

    on_redis(redis_url, body)


def test_a_429_closes_the_gate_and_is_logged_by_one_all_the_same(redis_url):
    async def body(client, one, other):
        gate = Gate(client, "acme")
        await one.emptied(7, 0, 10, 0.1)
        assert await gate.throttle(7)
        assert not await gate.throttle(7)
        assert 6 < (await other.take(1)).closed <= 7.1

    on_redis(redis_url, body)


def test_the_first_429_gives_a_low_rate_from_what_all_processes_had_sent(redis_url):
    async def body(client, one, other):
        await one.emptied(1, 0, 30, 0.5)
        await other.emptied(1, 0, 15, 0.5)
        # Another answer of the same lot.
        await one.emptied(1, 0, 0, 0.001)
        assert float(await client.hget(PACE, "per_second")) == pytest.approx(45 / 1.5)
        assert (await client.hmget(PACE, "burst", "level")) == ["45", "0"]
        assert 0 < await client.pttl(PACE) <= FORGOTTEN_MS + 1100

    on_redis(redis_url, body)


def test_what_processes_that_began_one_after_the_other_had_sent_counts_from_the_first_on(redis_url):
    async def body(client, one, other):
        await one.emptied(1, 0, 0, 0.001)
        await asyncio.sleep(0.2)
        await one.emptied(1, 0, 30, 0.05)
        assert 190 < float(await client.hget(PACE, "burst_ms")) < 5000
        # It had sent its first one before.
        await other.emptied(1, 0, 15, 0.5)
        assert 490 < float(await client.hget(PACE, "burst_ms")) < 5000
        await one.emptied(1, 0, 1, 0.001)
        assert 490 < float(await client.hget(PACE, "burst_ms")) < 5000
        assert await client.hget(PACE, "burst") == "46"

    on_redis(redis_url, body)


def test_what_one_process_learns_the_other_paces_at(redis_url):
    async def body(client, one, other):
        # As after a first pause of a second; the bucket held 10.
        opened = await server_ms(client) - 2000
        await set_rate(client, 200, level=0, doubt=1e9, opened=opened, emptied=opened - 1000, burst=10)
        await client.zadd("scimpipe:{acme}:paced", {str(n): opened + n * 1000 / 150 for n in range(1, 301)})
        await one.emptied(1, opened + 300 * 1000 / 150, 0, 0.1)
        # 290 in two seconds; what the search found is begun a little above (state.allowance.AT_FIRST).
        assert float(await client.hget(PACE, "per_second")) == pytest.approx(1.1 * 145, abs=3)
        await client.hdel(GATE, "throttled_until")
        moments = await other.take(50)
        assert moments.paced
        assert moments.between == pytest.approx(1 / (1.1 * 145), rel=0.03)

    on_redis(redis_url, body)


def test_a_late_answer_to_a_request_from_before_the_pause_teaches_nothing(redis_url):
    async def body(client, one, other):
        await set_rate(client, 100)
        opened = float(await client.hget(PACE, "opened"))
        await one.emptied(1, opened - 500, 0, 0.1)
        assert await client.hmget(PACE, "per_second", "level") == ["100", "60"]
        assert (await other.take(1)).closed > 0.9

    on_redis(redis_url, body)


def test_the_rate_begins_where_the_gate_opens_with_one_moment_after_the_other(redis_url):
    async def body(client, one, other):
        await set_rate(client, 50)
        await one.emptied(0.2, await server_ms(client), 0, 0.1)
        opens = float(await client.hget(GATE, "throttled_until"))
        await client.hset(PACE, "per_second", 50)
        await asyncio.sleep(0.25)
        first, second = await one.take(100), await other.take(100)
        assert first.moment(0) >= opens
        assert first.count + second.count <= 1 + (0.02 + AHEAD_MS / 1000 + 0.05) * 50

    on_redis(redis_url, body)


def test_the_curve_is_followed_only_as_far_as_the_rate_is_used(redis_url):
    async def body(client, one, other):
        await set_rate(client, 100, doubt=0.5, opened=await server_ms(client) - 3_600_000)
        assert (await one.take(1)).between == pytest.approx(0.01)
        await client.hset(PACE, "used", 120_000)
        assert (await one.take(0)).paced
        await asyncio.sleep(0.03)
        assert (await other.take(1)).between < 0.001

    on_redis(redis_url, body)


def test_the_operators_rate_is_never_exceeded_whatever_was_found(redis_url):
    async def body(client, one, other):
        limited = Rate(client, "acme", 20)
        assert (await limited.take(1)).between == pytest.approx(0.05)
        await set_rate(client, 500)
        await asyncio.sleep(0.06)
        assert (await limited.take(1)).between == pytest.approx(0.05)
        await set_rate(client, 5)
        assert (await limited.take(1, urgent=True)).between == pytest.approx(0.2)

    on_redis(redis_url, body)


def test_a_person_who_opens_the_gate_is_not_kept_waiting(redis_url):
    async def body(client, one, other):
        await one.emptied(3600, 0, 10, 0.1)
        assert await Gate(client, "acme").resume()
        assert not await Gate(client, "acme").resume()
        assert await other.take(1, urgent=True) == Moments(), "and nothing is known of a rate"

    on_redis(redis_url, body)


def test_after_an_hours_wait_nobody_crawls_for_hours(redis_url):
    """Two requests and 429 need not mean two requests an hour."""

    async def body(client, one, other):
        await one.emptied(3600, 0, 2, 0.1)
        curve = {name: float(await client.hget(PACE, name)) for name in ("per_second", "doubt")}
        # At first one in half a minute, and twice as many every quarter of one.
        assert curve == {"per_second": pytest.approx(2 / 60, rel=0.01), "doubt": pytest.approx(15)}

    on_redis(redis_url, body)


def test_a_clock_that_was_set_back_stops_nobody(redis_url):
    async def body(client, one, other):
        await set_rate(client, 100, at=await server_ms(client) + 3_600_000)
        assert (await one.take(1)).count == 1

    on_redis(redis_url, body)

from __future__ import annotations

import asyncio

from workers.throttle import START, Throttle


def test_never_more_requests_than_allowed_and_everybody_gets_a_turn():
    async def body() -> tuple[int, int]:
        throttle = Throttle(3)
        under_way = most = done = 0

        async def request() -> None:
            nonlocal under_way, most, done
            async with throttle.slot():
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.001)
                under_way -= 1
                done += 1

        await asyncio.gather(*(request() for _ in range(50)))
        return most, done

    assert asyncio.run(body()) == (3, 50)


def test_the_limit_grows_with_good_answers_up_to_the_operators():
    throttle = Throttle(20)
    assert throttle.allowed == START
    for _ in range(2000):
        throttle.observed(200, 0.01)
    assert throttle.allowed == 20


def test_the_limit_is_halved_by_a_push_back_or_a_timeout_and_never_below_one():
    throttle = Throttle(8)
    throttle.observed(429, 0.01)
    assert throttle.allowed == 4
    for _ in range(10):
        throttle.observed(None, 30.0)
    assert throttle.allowed == 1
    throttle.observed(500, 0.01)
    assert throttle.allowed >= 1


def test_a_cancelled_waiter_does_not_take_a_turn_with_it():
    async def body() -> bool:
        throttle = Throttle(1)
        first = throttle.slot()
        await first.__aenter__()

        async def waiting() -> bool:
            async with throttle.slot():
                return True

        doomed, patient = asyncio.create_task(waiting()), asyncio.create_task(waiting())
        await asyncio.sleep(0)
        doomed.cancel()
        await first.__aexit__(None, None, None)
        return await asyncio.wait_for(patient, 1)

    assert asyncio.run(body())


def test_a_pace_is_waited_for():
    class Pace:
        asked = 0

        async def wait_seconds(self) -> float:
            self.asked += 1
            return 0.0

    pace = Pace()

    async def body() -> None:
        async with Throttle(1, pace).slot():
            pass

    asyncio.run(body())
    assert pace.asked == 1


def test_a_turn_whose_owner_gave_up_is_the_next_ones():
    async def body():
        throttle = Throttle(1)
        done = []

        async def one(name):
            async with throttle.slot():
                done.append(name)

        async with throttle.slot():
            first, second = (asyncio.create_task(one(name)) for name in ("first", "second"))
            await asyncio.sleep(0)
        # Its turn has come, and it has not noticed yet.
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert done == ["second"]

    asyncio.run(body())

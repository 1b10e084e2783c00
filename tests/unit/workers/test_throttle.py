from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from scim.errors import TooManyRequests
from state.rate import Moments
from workers.concurrency import START, Concurrency
from workers.throttle import Throttle
from workers.waiting import URGENT


def throttle_of(most: int) -> Throttle:
    return Throttle(Concurrency(most))


async def answer(throttle: Throttle, status: int | None, retry_after_seconds: float | None = None) -> None:
    async with throttle.slot() as turn:
        turn.answered(status, retry_after_seconds)


def test_never_more_requests_than_allowed_and_everybody_gets_a_turn():
    async def body() -> tuple[int, int]:
        throttle = throttle_of(3)
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
    """A target that answers all it was asked at once, every two milliseconds."""

    async def body() -> None:
        now, wave = 0.0, asyncio.Event()
        throttle = Throttle(Concurrency(20, lambda: now), clock=lambda: now)
        assert throttle.concurrency.allowed == START

        async def request() -> None:
            async with throttle.slot("GET Users") as turn:
                await wave.wait()
                turn.answered(200)

        everybody = asyncio.gather(*(request() for _ in range(300)))
        while not everybody.done():
            await asyncio.sleep(0)
            answered, wave, now = wave, asyncio.Event(), now + 0.002
            answered.set()
        assert throttle.concurrency.allowed > START
        assert throttle.concurrency.allowed <= 20

    asyncio.run(body())


def test_the_limit_is_halved_by_a_push_back_or_a_timeout_and_never_below_one():
    async def body() -> None:
        throttle = throttle_of(8)
        await answer(throttle, 429)
        assert throttle.concurrency.allowed == 4
        for _ in range(10):
            await answer(throttle, None)
        assert throttle.concurrency.allowed == 1
        await answer(throttle, 500)
        assert throttle.concurrency.allowed >= 1

    asyncio.run(body())


@pytest.mark.parametrize(("status", "allowed"), [(502, 4), (504, 4), (500, 8)])
def test_a_gateway_that_gives_up_wants_less_at_a_time_and_a_failure_says_nothing(status, allowed):
    """Behind it the target goes on with what was given up, so that more at a time never end."""

    async def body() -> None:
        throttle = throttle_of(8)
        level = throttle.concurrency.level
        await answer(throttle, status)
        assert throttle.concurrency.allowed == allowed
        # 500s come quickly: were they counted, more at a time would seem to serve better.
        await asyncio.gather(*(answer(throttle, 500) for _ in range(100)))
        assert throttle.concurrency.level == level + (allowed != 8)

    asyncio.run(body())


def test_a_cancelled_waiter_does_not_take_a_turn_with_it():
    async def body() -> bool:
        throttle = throttle_of(1)
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


def test_a_turn_whose_owner_gave_up_is_the_next_ones():
    async def body():
        throttle = throttle_of(1)
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


# -- moments, from a Redis that a test writes by hand -----------------------------------------------------------------


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pace:
    """What Redis says: moments in turn, the last one for ever. deaf: it has not heard of any push back yet."""

    answers: list[Moments]
    asked: list[tuple[int, bool]] = field(default_factory=list)
    told: list[tuple[float, ...]] = field(default_factory=list)
    broken: Exception | None = None
    deaf: asyncio.Event | None = None

    async def take(self, wanted: int, *, urgent: bool = False) -> Moments:
        self.asked.append((wanted, urgent))
        await asyncio.sleep(0)
        if self.broken:
            raise self.broken
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def emptied(self, *said: float) -> None:
        if self.deaf:
            await self.deaf.wait()
        self.told.append(said)

    async def close(self, seconds: float) -> None:
        self.told.append((seconds,))


OPEN = Moments()


def paced(count: int = 1, first: float = 0.0, at: float = 7.0) -> Moments:
    return Moments(paced=True, count=count, first=first, between=0.001, at=at)


def run_with(pace: Pace, body, clock=None):
    async def run():
        return await asyncio.wait_for(body(Throttle(Concurrency(8), pace, clock or Clock())), 5)

    return asyncio.run(run())


def test_a_pace_is_waited_for():
    pace = Pace([paced()])
    run_with(pace, lambda throttle: answer(throttle, 200))
    assert pace.asked == [(1, False)]


def test_a_target_that_never_pushed_back_costs_one_question_and_then_none_but_a_look_now_and_then():
    pace, clock = Pace([OPEN]), Clock()

    async def body(throttle: Throttle) -> None:
        for _ in range(100):
            await answer(throttle, 200)
        await asyncio.sleep(0.01)
        assert pace.asked == [(1, False)]
        clock.now += 1
        await answer(throttle, 200)
        await answer(throttle, 200)
        await asyncio.sleep(0.01)
        assert pace.asked[1:] == [(0, False)]

    run_with(pace, body, clock)


def test_after_a_429_nobody_goes_before_the_gate_is_open_even_if_redis_has_not_heard_of_it():
    async def body(throttle: Throttle) -> None:
        pace.deaf = asyncio.Event()
        await answer(throttle, 200)
        await answer(throttle, 429, 3.0)
        waiting = asyncio.create_task(answer(throttle, 200))
        await asyncio.sleep(0.6)
        assert not waiting.done()
        clock.now += 3.1
        pace.deaf.set()
        await waiting
        assert pace.told == [(3.0, 0.0, 1, pytest.approx(0.001))]

    pace, clock = Pace([OPEN]), Clock()
    run_with(pace, body, clock)


def test_whoever_would_wait_too_long_is_told_for_how_long():
    async def body(throttle: Throttle) -> None:
        with pytest.raises(TooManyRequests) as raised:
            await answer(throttle, 200)
        assert raised.value.retry_after_seconds == pytest.approx(60)
        # A person has opened it meanwhile.
        pace.answers[:] = [OPEN]
        await answer(throttle, 200)

    pace = Pace([Moments(closed=60.0)])
    run_with(pace, body)


def test_one_answered_429_tells_the_moment_it_had():
    pace = Pace([paced(at=4711.0)])
    run_with(pace, lambda throttle: answer(throttle, 429, 1.0))
    run_with(pace, lambda throttle: answer(throttle, 429, 0.0))
    assert [said[:2] for said in pace.told] == [(1.0, 4711.0), (1.0, 4711.0)]


def test_a_503_with_a_time_closes_the_gate_and_says_nothing_about_a_rate():
    async def body(throttle: Throttle) -> None:
        await answer(throttle, 503, 2.0)
        await asyncio.sleep(0)
        assert throttle.concurrency.allowed == START // 2

    pace = Pace([OPEN])
    run_with(pace, body)
    assert pace.told == [(2.0,)]


def test_whoever_waits_for_a_person_goes_first():
    async def body(throttle: Throttle) -> None:
        order: list[str] = []

        async def request(name: str, *, urgent: bool) -> None:
            URGENT.set(urgent)
            async with throttle.slot() as turn:
                order.append(name)
                turn.answered(200)

        tasks = [asyncio.create_task(request(f"bulk {number}", urgent=False)) for number in range(3)]
        tasks.append(asyncio.create_task(request("person", urgent=True)))
        await asyncio.gather(*tasks)
        assert order[0] == "person"
        assert (1, True) in pace.asked

    pace = Pace([paced()])
    run_with(pace, body)


def test_while_redis_cannot_be_asked_those_who_wait_are_told_and_nobody_waits_for_ever():
    async def body(throttle: Throttle) -> None:
        with pytest.raises(ConnectionError):
            await answer(throttle, 200)
        pace.broken = None
        await answer(throttle, 200)

    pace = Pace([OPEN], broken=ConnectionError("gone"))
    run_with(pace, body)


def test_moments_taken_before_the_gate_closed_are_not_used():
    async def body(throttle: Throttle) -> None:
        sent = 0

        async def request() -> None:
            nonlocal sent
            async with throttle.slot() as turn:
                sent += 1
                turn.answered(429, 2.0)

        tasks = [asyncio.create_task(request()) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert sent == 1
        for task in tasks:
            task.cancel()

    run_with(Pace([Moments(paced=True, count=5, first=0.0, between=0.002, at=7.0)]), body, None)


def test_fewer_allowed_while_the_gate_is_waited_for_takes_no_moment_that_nobody_may_use():
    """Fewer than none were asked of Redis, which gave the moments of others a second time."""

    async def body(throttle: Throttle) -> None:
        timed_out = asyncio.Event()

        async def request() -> None:
            async with throttle.slot() as turn:
                await timed_out.wait()
                turn.answered(None)

        under_way = [asyncio.create_task(request()) for _ in range(START - 1)]
        await asyncio.sleep(0.01)
        await answer(throttle, 429, 0.1)
        waiting = asyncio.create_task(answer(throttle, 200))
        await asyncio.sleep(0.01)
        before = len(pace.asked)
        for _ in range(2):
            throttle.concurrency.pushed_back()
        clock.now += 0.2
        await asyncio.sleep(0.15)
        assert pace.asked[before:] == []
        timed_out.set()
        await asyncio.gather(waiting, *under_way)
        assert pace.asked[before:] == [(1, False)]

    pace, clock = Pace([paced()]), Clock()
    run_with(pace, body, clock)

"""The limit on a clock of its own, against endpoints of all kinds: what gets done, beside fixed numbers."""

from __future__ import annotations

import pytest

from tests.support.simulated_endpoint import Simulation, queues, slows_beyond, steady, uneven
from workers.concurrency import START, Concurrency

FIXED = (4, 8, 10, 16, 20, 24, 32, 64)


def best(latency, seconds=20.0, **more):
    return max(Simulation(latency(), 64, fixed=each, **more).run(seconds) for each in FIXED)


@pytest.mark.parametrize("most", [32, 128])
def test_it_doubles_every_round_trip_while_that_pays(most):
    simulation = Simulation(steady(0.1), most)
    rounds = 0
    while simulation.limit.allowed < most:
        simulation.run(simulation.now + 0.1001)
        rounds += 1
        assert rounds <= 3
    # Places are kept taken from then on.
    assert simulation.run(simulation.now + 20) > 0.97 * most / 0.1


@pytest.mark.parametrize("most", [32, 64, 128])
@pytest.mark.parametrize("own_seconds", [0.0, 0.0006])
def test_an_endpoint_that_slows_down_beyond_what_it_takes_gets_about_that(most, own_seconds):
    simulation = Simulation(slows_beyond(20, 0.05), most, own_seconds)
    rate = simulation.run(20)
    assert rate > 0.95 * best(lambda: slows_beyond(20, 0.05), own_seconds=own_seconds)
    assert 16 <= simulation.limit.allowed <= 25


@pytest.mark.parametrize("seed", range(4))
def test_durations_that_vary_widely_neither_starve_it_nor_lead_it_far_astray(seed):
    simulation = Simulation(queues(20, uneven(0.05, 0.83, seed)), 128)
    simulation.run(10)
    assert simulation.run(40) > 0.9 * 20 / 0.05


@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_hold_it_below_what_the_operator_allows(seed):
    vary = uneven(0.05, 0.83, seed)
    simulation = Simulation(lambda now, under_way, kind: vary(kind), 128)
    simulation.run(10)
    assert simulation.run(30) > 0.9 * 128 / 0.05


def test_a_mixed_lot_with_rare_long_requests_misleads_nobody():
    takes = {"GET Users": 0.02, "POST Users": 0.1, "POST Bulk": 2.0}

    def kind(number):
        return "POST Bulk" if number % 40 == 0 else ("GET Users", "GET Users", "POST Users")[number % 3]

    simulation = Simulation(queues(20, takes.get), 128, kind=kind)
    simulation.run(10)
    fixed = Simulation(queues(20, takes.get), 128, kind=kind, fixed=20).run(30)
    assert simulation.run(40) > 0.9 * fixed


def test_an_endpoint_that_answers_at_once_does_not_talk_it_down_to_where_less_gets_done():
    simulation = Simulation(steady(0.0003), 32, own_seconds=0.0005)
    assert simulation.run(20) > 0.97 * best(lambda: steady(0.0003), own_seconds=0.0005)


def test_an_endpoint_that_turns_slower_for_good_does_not_starve_us():
    def latency(now, under_way, kind):
        return 0.05 if now < 10 else 0.2

    simulation = Simulation(latency, 64)
    simulation.run(12)
    assert simulation.run(40) > 0.95 * 64 / 0.2


def test_it_follows_a_capacity_that_grows_and_shrinks():
    def latency(now, under_way, kind):
        return slows_beyond(20 if now < 20 else 60 if now < 80 else 10, 0.05)(now, under_way, kind)

    simulation = Simulation(latency, 128)
    simulation.run(15)
    assert 16 <= simulation.limit.allowed <= 25
    simulation.run(75)
    assert 48 <= simulation.limit.allowed <= 75
    simulation.run(100)
    assert 8 <= simulation.limit.allowed <= 13


def test_what_is_at_the_top_is_hardly_ever_tried_below():
    simulation = Simulation(steady(0.1), 8)
    assert simulation.run(30) > 0.98 * 8 / 0.1


def test_an_answer_to_a_request_that_had_company_to_spare_teaches_nothing():
    limit = Concurrency(32, lambda: 0.0)
    for _ in range(1000):
        limit.answered(None, "GET Users", 0.01)
    assert limit.allowed == START


def test_a_push_back_halves_it_and_it_comes_back_by_doubling_to_half_of_what_it_was():
    simulation = Simulation(steady(0.1), 64)
    simulation.run(2)
    assert simulation.limit.allowed == 64
    simulation.limit.pushed_back()
    simulation.limit.pushed_back()
    assert simulation.limit.allowed == 16
    simulation.allowed.clear()
    simulation.run(simulation.now + 1)
    assert max(simulation.allowed) == 32
    simulation.run(simulation.now + 30)
    assert simulation.limit.allowed > 48


def test_it_never_falls_below_one():
    limit = Concurrency(8, lambda: 0.0)
    for _ in range(10):
        limit.pushed_back()
    assert limit.allowed == 1
    assert Concurrency(1, lambda: 0.0).allowed == 1
    assert Simulation(steady(0.1), 1).run(20) > 9

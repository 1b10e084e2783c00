from __future__ import annotations

from dataclasses import dataclass

from workers.recent import Recent


@dataclass
class Clock:
    now: float = 1e6

    def __call__(self) -> float:
        return self.now


def test_it_counts_the_last_second_or_two_and_each_request_once():
    clock = Clock()
    recent = Recent(clock)
    for _ in range(100):
        clock.now += 0.1
        recent.add()
    count, seconds = recent.take()
    assert 10 <= count <= 21
    assert 1.0 <= seconds <= 2.1
    # From the first one on: what was quiet before it tells nothing of how many the target lets pass.
    clock.now += 0.5
    recent.add()
    clock.now += 0.25
    recent.add()
    assert recent.take() == (2, 0.25)


def test_what_was_long_ago_is_forgotten():
    clock = Clock()
    recent = Recent(clock)
    for _ in range(5):
        recent.add()
    clock.now += 60
    recent.add()
    clock.now += 0.25
    assert recent.take() == (1, 0.25)


def test_none_at_all_is_no_time_at_all():
    count, seconds = Recent(Clock()).take()
    assert (count, seconds) == (0, 0.001)

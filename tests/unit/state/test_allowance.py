"""What is made of a 429, against buckets whose size and rate are known here and not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from state.allowance import Allowance, Emptied, doubling_seconds, found

AT_FIRST_PER_SECOND = 2000


@dataclass
class Bucket:
    """Lets through per_second, and as many as it holds at once. per_second: may change with time."""

    per_second: Callable[[float], float]
    holds: float
    tokens: float = 1e9
    filled_at: float = 0.0

    def lets_through(self, now: float) -> bool:
        self.tokens = min(self.holds, self.tokens + (now - self.filled_at) * self.per_second(now))
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Window:
    """Lets through so many in each window of so many seconds."""

    count: int
    seconds: float
    window: int = -1
    used: int = 0

    def lets_through(self, now: float) -> bool:
        if int(now / self.seconds) != self.window:
            self.window, self.used = int(now / self.seconds), 0
        self.used += 1
        return self.used <= self.count


@dataclass
class Run:
    """Sends at the pace that was found, and waits wait(now) seconds after each 429, as state.rate does."""

    target: Bucket | Window
    wait: Callable[[float], float] = lambda now: 1.0
    learn: Callable[[Emptied], Allowance] = found
    through: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    found: list[Allowance] = field(default_factory=list)
    least: float = 0.0
    doubling: float = 0.0

    def until(self, seconds: float) -> Run:
        now = 0.0
        while self.target.lets_through(now):
            self.through.append(now)
            now += 1 / AT_FIRST_PER_SECOND
        burst, within = float(len(self.through)), now
        self.least = burst / (within + self.wait(now))
        self.doubling = doubling_seconds(self.wait(now))
        while True:
            self.refused.append(now)
            opened = now + self.wait(now)
            after, sent = self._send(opened, seconds)
            if opened + after >= seconds:
                return self
            level = self.found[-1].level_seconds if self.found else 0.0
            pace = self._pace(after)
            began = self.found[-1].per_second if self.found else self.least
            emptied = Emptied(sent, after, opened - now, burst, within, pace, after, level, began)
            self.found.append(self.learn(emptied))
            burst, within = self.found[-1].burst, 0.0
            now = opened + after

    def _pace(self, seconds: float) -> float:
        return self.found[-1].pace(seconds) if self.found else self.least * 2 ** (seconds / self.doubling)

    def _send(self, opened: float, end: float) -> tuple[float, list[tuple[float, int]]]:
        after, sent = 0.0, [(0.0, 1)]
        while self.target.lets_through(opened + after) and opened + after < end:
            self.through.append(opened + after)
            after += 1 / self._pace(after)
            sent.append((after, len(sent) + 1))
        return after, sent

    def rate(self, since: float, until: float) -> float:
        return sum(since <= each < until for each in self.through) / (until - since)


@pytest.mark.parametrize("holds_seconds", [0.25, 1.0, 10.0])
@pytest.mark.parametrize("per_second", [10, 25, 100, 500])
def test_the_allowance_is_used_and_hardly_anything_refused(per_second, holds_seconds):
    bucket = Bucket(lambda now: per_second, max(1.0, per_second * holds_seconds))
    run = Run(bucket).until(180)
    assert run.rate(10, 180) > 0.97 * per_second
    late = [each for each in run.refused if each > 10]
    assert len(late) < 0.01 * run.rate(10, 180) * 170
    assert run.found[-1].per_second == pytest.approx(per_second, rel=0.02)


@pytest.mark.parametrize("holds", [1, 5])
def test_a_rate_of_one_a_second_is_found_too(holds):
    run = Run(Bucket(lambda now: 1.0, holds)).until(400)
    assert run.rate(50, 400) > 0.85
    assert len([each for each in run.refused if each > 50]) < 12


def test_an_allowance_that_grows_is_found_out_within_minutes():
    run = Run(Bucket(lambda now: 25 if now < 60 else 100, 6.25)).until(800)
    assert run.rate(700, 800) > 90


def test_an_allowance_that_shrinks_is_found_out_at_once():
    run = Run(Bucket(lambda now: 100 if now < 60 else 20, 5)).until(200)
    assert run.rate(90, 200) > 17
    assert len([each for each in run.refused if each > 90]) < 15


def test_a_window_of_a_minute_is_spread_over_it():
    run = Run(Window(600, 60.0), wait=lambda now: 60.0 - now % 60.0).until(600)
    assert run.rate(0, 600) > 0.85 * 10
    assert len(run.refused) < 20
    # Never a stampede when it opens.
    assert max(run.rate(each, each + 1) for each in range(60, 600)) < 100


@pytest.mark.parametrize("times", [0.1, 0.5, 2.0])
def test_a_burst_held_for_too_small_or_too_large_is_noticed(times):
    run = Run(Bucket(lambda now: 100, 25))
    allowance = Allowance(100 / times, 0.015, 90.0, 25 * times)
    run.found.append(allowance)
    run.until(600)
    assert run.rate(400, 600) > 90


@pytest.mark.parametrize("share", [0.5, 0.7, 0.85])
def test_a_search_that_ended_too_low_is_put_right_within_seconds(share):
    def too_low(emptied: Emptied) -> Allowance:
        allowance = found(emptied)
        return (
            allowance
            if emptied.level_seconds
            else replace(allowance, per_second=share * allowance.per_second)
        )

    run = Run(Bucket(lambda now: 25, 6.25), learn=too_low).until(180)
    assert run.rate(10, 180) > 0.97 * 25


def test_a_second_429_at_once_gives_a_rate_all_the_same():
    emptied = Emptied([(0.0, 1)], 0.0, 1.0, 0.0, 0.0, 5.0, 0.0, 0.0, 5.0)
    assert found(emptied).per_second == pytest.approx(1.1)


def test_the_curve_is_level_for_long_and_then_ever_steeper():
    allowance = Allowance(100, 0.02, 60.0, 25)
    assert allowance.pace(0) == 100
    assert allowance.pace(30) < 100.1
    assert allowance.pace(60) == pytest.approx(102)
    assert allowance.pace(240) > 300

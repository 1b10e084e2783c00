"""An endpoint and a worker on a clock of their own: what workers.concurrency makes of it, in no time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workers.concurrency import Concurrency

# From when a request starts, how many are under way with it, and its kind: the seconds it takes.
Latency = Callable[[float, int, str], float]


@dataclass
class Simulation:
    """As many requests as are allowed, always. own_seconds: what each costs this process, which does one thing at a time.
    fixed: how many at once; None: as Concurrency says.
    """

    latency: Latency
    most: int
    own_seconds: float = 0.0
    kind: Callable[[int], str] = lambda number: "POST Users"
    fixed: int | None = None
    now: float = 0.0
    done: int = 0
    allowed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = Concurrency(self.most, lambda: self.now)
        self._events: list[tuple[float, int, str, Any]] = []
        self._numbers = itertools.count()
        self._under_way = self._at_endpoint = self._started = 0
        self._own_until = 0.0

    def run(self, until: float) -> float:
        """Requests a second, from now until then."""
        began, before = self.now, self.done
        self._start()
        while self._events and self._events[0][0] <= until:
            self.now, _, what, request = heapq.heappop(self._events)
            getattr(self, what)(*request)
        self.now = until
        return (self.done - before) / (until - began)

    def _start(self) -> None:
        free = (self.fixed or self.limit.allowed) - self._under_way
        for _ in range(free):
            self._under_way += 1
            self._own("_sent", self.now, self.limit.level, self.kind(self._started))
            self._started += 1

    def _own(self, what: str, *request: Any) -> None:
        self._own_until = max(self.now, self._own_until) + self.own_seconds / 2
        self._at(self._own_until, what, *request)

    def _at(self, when: float, what: str, *request: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what, request))

    def _sent(self, began: float, level: int, kind: str) -> None:
        self._at_endpoint += 1
        took = self.latency(self.now, self._at_endpoint, kind)
        self._at(self.now + took, "_received", began, level, kind)

    def _received(self, *request: Any) -> None:
        self._at_endpoint -= 1
        self._own("_answered", *request)

    def _answered(self, began: float, level: int, kind: str) -> None:
        self._under_way -= 1
        self.done += 1
        self.limit.answered(level, kind, self.now - began)
        self.allowed.append(self.limit.allowed)
        self._start()


def steady(seconds: float) -> Latency:
    return lambda now, under_way, kind: seconds


def slows_beyond(at_once: int, seconds: float) -> Latency:
    """As bench.endpoint --at-once does."""

    def latency(now: float, under_way: int, kind: str) -> float:
        over = max(1.0, under_way / at_once)
        return seconds * over * (1 + 0.2 * (over - 1))

    return latency


def queues(servers: int, seconds: Callable[[str], float]) -> Latency:
    """So many work; further requests wait their turn."""
    free = [0.0] * servers

    def latency(now: float, under_way: int, kind: str) -> float:
        ends = max(heapq.heappop(free), now) + seconds(kind)
        heapq.heappush(free, ends)
        return ends - now

    return latency


def uneven(seconds: float, spread: float, seed: int = 1) -> Callable[[str], float]:
    """Lognormal, with that mean."""
    chance = random.Random(seed)
    return lambda kind: seconds * chance.lognormvariate(-spread * spread / 2, spread)

"""Consumers that wait, on a real Valkey. Whatever else could wake them is made so long that it would not be seen here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis

from config.settings import DrupalDatabaseSettings, RedisSettings, Secret, Settings
from state import consumer
from state.broker import ACTORS, make_broker, send
from state.connection import sync_client
from state.consumer import WakingBroker
from tests.faults.processes import redis_server

LANE = "interactive"
LONG = 20.0
# Much less than LONG, much more than anything takes here.
SOON = 8.0


@pytest.fixture(autouse=True)
def waits_are_long(monkeypatch):
    for name in ("WAIT_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(consumer, name, LONG)
    monkeypatch.setattr(consumer, "NOTICE_SECONDS", 0.2)


def settings(url: str, **known: Any) -> Settings:
    drupal = DrupalDatabaseSettings(url="sqlite:///x")
    return Settings(path=Path("x"), redis=RedisSettings(url=url, **known), drupal=drupal, targets={})


@pytest.fixture
def broker(redis_url: str) -> Iterator[WakingBroker]:
    made = make_broker(settings(redis_url))
    yield made
    made.close()


class Seen:
    """What an actor was called with, in order."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self._more = threading.Condition()

    def add(self, users: list[str]) -> None:
        with self._more:
            self.users += users
            self._more.notify_all()

    def wait_for(self, *users: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: set(users) <= set(self.users), SOON), self.users


@contextmanager
def working(
    broker: WakingBroker, body: Callable[[list[str]], None], threads: int = 1
) -> Iterator[dramatiq.Worker]:
    """A worker of dramatiq's, as its command line makes it; one of these is enough to end it."""

    def reconcile(target: str, users: list[str]) -> None:
        body(users)

    dramatiq.actor(actor_name=ACTORS[LANE], queue_name=LANE, broker=broker)(reconcile)
    worker = dramatiq.Worker(broker, queues={LANE}, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


def looks(client: redis.Redis) -> int:
    """Scripts that ran, of which each fetch is one, and waits."""
    known = client.info("commandstats")
    return sum(int(known.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "blmove"))


def wake(broker: WakingBroker) -> None:
    """Ends its consumers without their own notice."""
    broker.ending.set()
    for name in (LANE, f"{LANE}.DQ"):
        broker.client.rpush(f"dramatiq:{name}", "nothing")


def test_what_is_sent_to_an_idle_worker_is_picked_up_at_once(broker):
    seen = Seen()
    with working(broker, seen.add):
        # The queue's consumer and the one of delayed messages.
        until(lambda: waiting(broker.client) == 2)
        for user in ("u-1", "u-2", "u-3"):
            send(broker, "acme", [user], LANE)
            seen.wait_for(user)
            until(lambda: waiting(broker.client) == 2)
        before = looks(broker.client)
        time.sleep(0.3)
        assert looks(broker.client) == before, "it looks though nothing has come"


def test_a_delayed_message_comes_when_it_is_due(broker, monkeypatch):
    monkeypatch.setattr(consumer, "NOTICE_SECONDS", LONG)
    seen = Seen()
    with working(broker, seen.add):
        until(lambda: waiting(broker.client) == 2)
        send(broker, "acme", ["later"], LANE, delay_seconds=0.9)
        send(broker, "acme", ["first"], LANE, delay_seconds=0.4)
        seen.wait_for("first", "later")
        assert seen.users == ["first", "later"]
        wake(broker)


def test_several_workers_share_a_queue_and_none_of_them_runs_in_circles(redis_url, monkeypatch):
    monkeypatch.setattr(consumer, "NOTICE_SECONDS", LONG)
    brokers = [make_broker(settings(redis_url)) for _ in range(2)]
    consumers = [each.consume(LANE, prefetch=1, timeout=1000) for each in brokers]
    taken: dict[int, list[Any]] = {0: [], 1: []}

    def consume(number: int) -> None:
        for message in consumers[number]:
            if message is not None:
                taken[number].append(message)
            if brokers[number].ending.is_set():
                return

    threads = [threading.Thread(target=consume, args=(number,), daemon=True) for number in (0, 1)]
    for thread in threads:
        thread.start()
    client = brokers[0].client
    until(lambda: waiting(client) == 2)
    send(brokers[0], "acme", ["u-1"], LANE)
    until(lambda: len(taken[0] + taken[1]) == 1)
    # Who was first is full now: it leaves the rest to the other, and what is left to nobody.
    send(brokers[0], "acme", ["u-2"], LANE)
    until(lambda: len(taken[0]) == len(taken[1]) == 1)
    send(brokers[0], "acme", ["u-3"], LANE)
    before = looks(client)
    time.sleep(0.3)
    assert looks(client) == before, "they look though both are full"
    assert client.llen("dramatiq:interactive") == 1
    consumers[1].ack(taken[1][0])
    until(lambda: len(taken[1]) == 2)
    for number, each in enumerate(brokers):
        wake(each)
        consumers[number].ack(taken[number][-1])
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def test_a_worker_that_waits_ends_when_it_is_told_to_and_takes_nothing_more(broker):
    seen = Seen()
    with working(broker, seen.add) as worker:
        until(lambda: waiting(broker.client) == 2)
        began = time.monotonic()
        worker.stop(timeout=1000 * int(LONG))
        assert time.monotonic() - began < SOON
        assert not any(thread.is_alive() for thread in (*worker.consumers.values(), *worker.workers))
    until(lambda: waiting(broker.client) == 0)
    send(broker, "acme", ["u-1"], LANE)
    assert seen.users == []
    assert broker.client.llen("dramatiq:interactive") == 1


def test_a_message_that_comes_while_the_worker_ends_is_left_to_others(broker):
    release, seen = threading.Event(), Seen()

    def work(users: list[str]) -> None:
        seen.add(users)
        release.wait(SOON)

    with working(broker, work, threads=2) as worker:
        send(broker, "acme", ["u-1"], LANE)
        seen.wait_for("u-1")
        until(lambda: waiting(broker.client) == 2)
        broker.emit_before("worker_shutdown", worker)
        send(broker, "acme", ["u-2"], LANE)
        # Woken once more, it does not fetch.
        until(lambda: waiting(broker.client) == 1)
        time.sleep(0.3)
        release.set()
    assert seen.users == ["u-1"]
    assert broker.client.llen("dramatiq:interactive") == 1


def test_redis_may_go_away_and_come_back_while_they_wait(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(consumer, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.2)
    seen = Seen()
    with redis_server(tmp_path) as server:
        broker = make_broker(settings(server.url))
        with working(broker, seen.add):
            until(lambda: waiting(broker.client) == 2)
            server.kill()
            time.sleep(1)
            server.start()
            client = sync_client(settings(server.url))
            until(lambda: waiting(client) == 2)
            send(broker, "acme", ["u-1"], LANE)
            seen.wait_for("u-1")
    assert "unexpected error" not in caplog.text


def test_a_wait_that_is_never_answered_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(consumer, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(consumer, "LATE_SECONDS", 0.3)
    with redis_server(tmp_path) as server:
        wait = consumer._Wait(sync_client(settings(server.url)).connection_pool, "dramatiq:interactive")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(redis.TimeoutError):
                until(lambda: wait.over(0.05))
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_where_no_wait_can_begin_it_looks_a_little_later(monkeypatch):
    monkeypatch.setattr(consumer, "LOOK_SECONDS", 0.01)
    waits = make_broker(settings("redis://127.0.0.1:9/0")).consume(LANE)
    waits._begin_to_wait()
    assert waits._wait is None


def test_without_the_right_to_wait_it_looks(redis_url, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(consumer, "LOOK_SECONDS", 0.1)
    (tmp_path / "password").write_text("pw")
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "old", "on", ">pw", "~*", "+@all", "-blmove")
        try:
            known = {"username": "old", "password": Secret(file=tmp_path / "password")}
            broker, seen = make_broker(settings(redis_url, **known)), Seen()
            with working(broker, seen.add):
                time.sleep(0.5)
                send(broker, "acme", ["u-1"], LANE)
                seen.wait_for("u-1")
                assert waiting(client) == 0
        finally:
            client.execute_command("ACL", "DELUSER", "old")
    assert "unexpected error" not in caplog.text


def test_an_idle_worker_goes_on_telling_that_it_is_alive(broker, monkeypatch):
    monkeypatch.setattr(consumer, "WAIT_SECONDS", 0.2)

    def heard() -> float:
        return broker.client.zscore("dramatiq:__heartbeats__", broker.broker_id) or 0.0

    with working(broker, Seen().add):
        until(heard)
        first = heard()
        until(lambda: heard() > first)

"""Processes killed at any moment, Redis killed, frozen, flushed, out of memory and out of disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.processes import RedisServer, Supervisor, family, redis_server
from tests.faults.report import FULL, Report
from tests.faults.world import World, world

SEED = 20261125
USERS = 5_000 if FULL else 150
KILLS = 100 if FULL else 8
PEOPLE = 400 if FULL else 80
COMMANDS = ("worker", "worker", "scheduler", "scheduler", "changes", "changes")


@contextmanager
def supervised(
    folder: Path, report: Report, people: int, commands: tuple[str, ...] = ("worker", "scheduler", "changes")
) -> Iterator[tuple[World, Supervisor, RedisServer]]:
    with (
        redis_server(folder / "redis") as server,
        world(folder, report, SEED, people=people, redis_url=server.url) as made,
        Supervisor(made.running, commands) as supervisor,
    ):
        made.running.workers_ready()
        yield made, supervisor, server


@contextmanager
def busy(made: World, every_seconds: float = 0.5) -> Iterator[None]:
    """People come, change and go all the while."""
    stop = threading.Event()

    def edit() -> None:
        while not stop.wait(every_seconds):
            made.turmoil()

    thread = threading.Thread(target=edit, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def command(made: World, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        env=made.running.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.timeout(1000)
def test_processes_are_killed_at_any_moment(tmp_path, report):
    choose = random.Random(SEED)
    with supervised(tmp_path, report, USERS, COMMANDS) as (made, supervisor, _):
        sync = command(made, "sync")
        with busy(made, 1.0):
            for _ in range(KILLS):
                time.sleep(choose.uniform(0.2, 2.0))
                if choose.random() < 0.1:
                    sync.kill()
                else:
                    supervisor.kill_one(choose)
                if sync.poll() is not None:
                    sync = command(made, "sync")
        sync.kill()
        sync.wait()
        made.settle(f"{KILLS} processes killed", 600)
        # Nobody whose parent was killed is left behind.
        made.running.until(lambda: _workers(made) == len(family_workers(supervisor)), 60)


def _workers(made: World) -> int:
    """Worker processes of this world that are alive, whoever their parent is."""
    found = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and b"workers.main:boot" in (entry / "cmdline").read_bytes():
                environment = (entry / "environ").read_bytes()
                found += str(made.running.folder).encode() in environment
    return found


def family_workers(supervisor: Supervisor) -> list[int]:
    found = []
    for pid in supervisor.pids():
        with contextlib.suppress(OSError):
            if b"workers.main:boot" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@pytest.mark.timeout(120)
def test_a_worker_told_to_end_ends_within_ten_seconds_and_holds_nobody(tmp_path, report):
    with world(tmp_path, report, SEED, people=60, timeout=30.0) as made:
        # Longer than the worker may take; what was sent has to end before all is settled.
        made.proxy.delay_seconds = 25.0
        made.running.start("worker", "scheduler")
        made.running.workers_ready()
        made.running.run("sync", "--no-wait")
        made.running.until(lambda: made.running.run("status")["targets"]["main"]["running"] > 0)
        worker = made.running.processes[0]
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        made.injected += 1
        worker.wait(20)
        took = time.monotonic() - began
        status = made.running.run("status")["targets"]["main"]
        assert took < 10
        assert (status["pending"], status["running"], status["failed"]) == (61, 0, 0)
        made.proxy.delay_seconds = 0.0
        made.running.start("worker")
        made.settle("SIGTERM while the target stalls")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", ["command", "command and masters"])
def test_killed_parents_take_their_workers_with_them(tmp_path, report, killed):
    """While they log more than a pipe without a reader takes."""
    with world(tmp_path, report, SEED, people=400) as made:
        made.running.start("worker")
        made.running.workers_ready()
        command = made.running.processes[0]
        members = family(command.pid)
        masters = [pid for pid in members if _parent(pid) == command.pid]
        assert len(masters) == 2
        assert len(members) >= 5
        made.running.run("sync", "--no-wait")
        made.running.until(lambda: made.proxy.record.exchanges)
        for pid in masters if "masters" in killed else ():
            os.kill(pid, signal.SIGKILL)
        command.kill()
        command.wait()
        made.running.until(lambda: not any(_alive(pid) for pid in members), 40)
        assert _workers(made) == 0


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["killed", *(("frozen", "out of memory", "disk full") if FULL else ())])
def test_redis_fails_in_the_middle(tmp_path, report, fault):
    with supervised(tmp_path, report, PEOPLE) as (made, _, server):
        made.running.run("sync", "--no-wait")
        with busy(made):
            for _ in range(2 if FULL else 1):
                time.sleep(1.0)
                made.injected += 1
                match fault:
                    case "killed":
                        server.kill()
                        time.sleep(1.0)
                        server.start()
                    case "frozen":
                        server.freeze(30.0 if FULL else 3.0)
                    case "out of memory":
                        server.out_of_memory(4.0)
                    case "disk full":
                        server.disk_full(4.0)
            time.sleep(1.0)
        made.settle(f"Redis {fault}", 200)


@pytest.mark.timeout(300)
def test_redis_is_emptied(tmp_path, report):
    """What is lost is the memory of who left meanwhile: those accounts are put before a person."""
    with supervised(tmp_path, report, PEOPLE) as (made, _, server):
        made.running.run("sync", "--no-wait")
        with busy(made):
            time.sleep(2.0)
            with server.client() as client:
                client.flushall()
            made.injected += 1
            time.sleep(2.0)
        made.settle_orphans("Redis emptied", 200)

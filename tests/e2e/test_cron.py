"""The scheduled trigger as it runs: cron in the scheduler process, one of two leading, and a worker killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support.pipeline import pipeline, scim2_server

SECTION = """
[targets.main.scheduled]
operations = ["create"]
cron = "* * * * *"
"""


def kill_tree(pid: int) -> None:
    """A process and all it has started, without a warning."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    for line in found.splitlines():
        child, parent = map(int, line.split())
        if parent == pid:
            kill_tree(child)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(240)
def test_cron_starts_a_full_sync_once_and_a_killed_worker_loses_nobody(tmp_path):
    with (
        scim2_server(tmp_path, ["main"]) as address,
        pipeline("sqlite", tmp_path, {"main": SECTION}, address, people=300) as running,
    ):
        running.start("scheduler", "scheduler", "worker --lane bulk")
        running.until(lambda: running.run("status")["schedulers"] == 2)
        running.until(lambda: len(running.accounts("main")) > 0, 80)
        # The workers die in the middle; others take over when the leases have ended.
        kill_tree(running.processes[-1].pid)
        active = [user for user in running.site.users() if user.status]
        assert len(running.accounts("main")) < len(active)
        running.start("worker --lane bulk")
        running.until(lambda: len(running.accounts("main")) == len(active), 80)
        log = (running.folder / "processes.log").read_text()
        assert log.count('"event":"scheduler_leading"') == 1
        assert running.run("status")["targets"]["main"]["failed"] == 0

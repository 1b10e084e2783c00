"""A wrong token: nothing is lost, nobody has to enqueue anything again, and everybody is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.pipeline import TOKEN, pipeline, scim2_server

SECTION = """
[targets.main.manual]
operations = ["create"]
[targets.main.scheduled]
operations = ["create"]
cron = "0 0 1 1 *"
"""


def test_jobs_wait_while_the_token_is_wrong_and_go_on_by_themselves_when_it_is_right(tmp_path):
    with (
        scim2_server(tmp_path, ["main"]) as address,
        pipeline("sqlite", tmp_path, {"main": SECTION}, address, people=10) as running,
    ):
        config = tmp_path / "scimpipe.toml"
        config.write_text(config.read_text().replace('{ env = "E2E_TOKEN" }', '{ file = "token" }'))
        (tmp_path / "token").write_text("wrong")
        check = running.run("check", code=3)
        assert any("token is wrong or has expired" in each["detail"] for each in check["checks"])
        running.start("worker", "scheduler")
        running.workers_ready()
        user = next(each.uuid for each in running.site.users() if each.status)
        (row,) = running.run("provision", user, code=3)
        assert row["outcome"] == "pending"
        assert "quarantined" in row["detail"]
        running.run("sync", "--no-wait")
        status = running.run("status")["targets"]["main"]
        assert (status["health"], status["failed"]) == ("quarantined", 0)
        assert "401" in status["reason"]
        assert running.accounts("main") == {}

        (tmp_path / "token").write_text(TOKEN)
        active = {each.uuid for each in running.site.users() if each.status}
        running.until(lambda: set(running.accounts("main")) == active, 60)
        status = running.run("status")["targets"]["main"]
        assert (status["health"], status["failed"], status["pending"]) == ("ok", 0, 0)
        assert {each["attempt"] for each in running.run("history")} == {1}


def test_up_once_syncs_drains_and_ends(tmp_path):
    with (
        scim2_server(tmp_path, ["main"]) as address,
        pipeline("sqlite", tmp_path, {"main": SECTION}, address, people=10) as running,
    ):
        command = [sys.executable, "-m", "cli.main", "up", "--once", "--json"]
        done = subprocess.run(command, env=running.environment(), capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["outcome"], result["created"]) == ("done", len(running.accounts("main")))


def test_everybody_ends_when_everybody_is_told_to_twice(tmp_path):
    """As a supervisor does, which signals every process of a group while its parent does so as well."""
    with (
        scim2_server(tmp_path, ["main"]) as address,
        pipeline("sqlite", tmp_path, {"main": SECTION}, address) as running,
    ):
        running.start("worker")
        running.workers_ready()
        family = tree(running.processes[0].pid)
        assert len(family) >= 5
        for _ in range(2):
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        running.processes[0].wait(20)
        running.until(lambda: not any(alive(pid) for pid in family), 15)


def tree(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    below = [int(row[0]) for row in rows if int(row[1]) == pid and "state.embedded" not in row[2]]
    return [pid, *(each for child in below for each in tree(child))]


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False

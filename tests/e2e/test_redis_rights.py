"""The rights docs/security.md asks for are enough, and exactly those: a worker, a sync and every command under them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from tests.faults.processes import redis_server
from tests.support.pipeline import pipeline, scim2_server

SECTION = """
[targets.main.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.main.automatic]
operations = ["create", "update", "deactivate"]
[targets.main.scheduled]
operations = ["create", "update", "deactivate"]
cron = "0 0 1 1 *"
"""
PASSWORD = "canary-password"


def documented_rights() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    found = re.search(r"ACL SETUSER scimpipe on >PASSWORD (.+)", page)
    assert found is not None
    return found[1].split()


@pytest.mark.timeout(180)
def test_all_works_with_the_documented_rights(tmp_path, monkeypatch):
    monkeypatch.setenv("E2E_REDIS_PASSWORD", PASSWORD)
    with redis_server(tmp_path / "redis") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "scimpipe", "on", f">{PASSWORD}", *documented_rights())
            client.execute_command("ACL", "SETUSER", "default", "off")
        section = f'{server.url}"\nusername = "scimpipe"\npassword = {{ env = "E2E_REDIS_PASSWORD" }} # "'
        with (
            scim2_server(tmp_path, ["main"]) as address,
            pipeline("sqlite", tmp_path, {"main": SECTION}, address, people=12, redis_url=section) as running,
        ):
            running.start("worker", "scheduler", "changes")
            running.workers_ready()
            active = [user for user in running.site.users() if user.status]
            # Who made them is open: change detection submits whoever was saved in the very second it began.
            assert running.run("sync")["outcome"] == "done"
            assert running.accounts("main").keys() == {user.uuid for user in active}
            running.site.block(active[1].uuid)
            running.until(lambda: not running.accounts("main")[active[1].uuid]["active"])
            running.run("provision", active[2].uuid)
            for command in (
                ["check"], ["status"], ["history"], ["dead-letters", "list"], ["held", "list"], ["sync", "--verify"],
                ["pause", "main"], ["resume", "main"], ["dead-letters", "retry", "--all"], ["held", "approve", "--all"],
            ):  # fmt: skip
                running.run(*command)
            mine = redis.Redis(
                server.host, server.port, username="scimpipe", password=PASSWORD, decode_responses=True
            )
            with pytest.raises(redis.exceptions.NoPermissionError):
                mine.flushall()
            with pytest.raises(redis.exceptions.NoPermissionError):
                mine.get("somebody:else")
            assert PASSWORD not in (tmp_path / "processes.log").read_text()
            mine.close()

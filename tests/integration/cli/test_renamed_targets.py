"""A section that was renamed or removed: its links stay, and nobody tells its accounts of who leaves. It is said."""

from __future__ import annotations

import asyncio
import json
import subprocess

import redis
import structlog

from config.loading import load
from state.connection import log_warnings, open_redis

SAID = "2 account(s) are linked under okta, which the config no longer has: they stay active when their users leave"


def linked(redis_url: str) -> redis.Redis:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    client.hset("scimpipe:{okta}:owners", mapping={"1": "anna", "2": "bert"})
    return client


def warnings(status: subprocess.CompletedProcess[str]) -> list[str]:
    """But for those of processes: none runs here."""
    told = json.loads(status.stdout)["warnings"]
    return [line for line in told if "running" not in line]


def test_accounts_of_a_section_that_was_renamed_are_warned_of_until_it_is_back_or_forgotten(run, redis_url):
    run("status", name="okta")
    client = linked(redis_url)
    assert warnings(run("status", "--json", name="okta")) == []
    (told,) = warnings(run("status", "--json"))
    assert told.startswith(SAID)
    assert "`scimpipe sync --verify`" in told
    assert "docs/operations.md" in told
    assert SAID in run("status").stdout
    (check,) = [
        each for each in json.loads(run("check", "--json").stdout)["checks"] if each["name"] == "okta"
    ]
    assert (check["ok"], check["detail"]) == (True, f"WARNING: {told}")
    assert warnings(run("status", "--json", name="okta")) == []
    # As docs/operations.md has it.
    client.srem("scimpipe:targets", "okta")
    assert warnings(run("status", "--json")) == []


def test_a_name_under_which_nobody_is_linked_is_nobodys_business(run, redis_url):
    run("status", name="okta")
    assert warnings(run("status", "--json")) == []
    client = linked(redis_url)
    assert len(warnings(run("status", "--json"))) == 1
    client.delete("scimpipe:{okta}:owners")
    assert warnings(run("status", "--json")) == []


def test_it_is_logged_by_whoever_starts(run, folder, redis_url, monkeypatch):
    monkeypatch.chdir(folder)
    run("status", name="okta")
    linked(redis_url)
    run("status")

    async def start() -> None:
        settings = load(None)
        client = await open_redis(settings)
        await log_warnings(structlog.get_logger(), client, settings)
        await client.aclose()

    with structlog.testing.capture_logs() as lines:
        asyncio.run(start())
    (line,) = [each for each in lines if each["event"] == "unknown_target"]
    assert (line["target"], line["detail"].startswith(SAID)) == ("okta", True)

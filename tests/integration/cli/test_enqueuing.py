"""The script that enqueues by uuid, and links of a target that has another address by now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import redis


def test_links_of_another_target_are_not_followed(run, redis_url):
    """Under its address the same ids may be other people's accounts: they would be blocked and renamed."""
    there, elsewhere = "http://127.0.0.1:9/scim", "http://127.0.0.1:10/scim"
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    assert run("status", target=there).returncode == 0
    client.hset("scimpipe:{acme}:owners", "1", "somebody")
    client.sadd("scimpipe:{acme}:quirks", "no_patch")
    assert run("status", target=there + "/").returncode == 0, "the same address"
    for command in (["status"], ["sync"], ["provision", "anna"], ["check"], ["worker"], ["changes"]):
        done = run(*command, target=elsewhere)
        assert done.returncode == (3 if command == ["check"] else 2)
        assert f'moved_from = "{there}"' in done.stderr + done.stdout
    assert client.smembers("scimpipe:{acme}:quirks") == {"no_patch"}
    moved = f'{elsewhere}"\nmoved_from = "{there}'
    assert run("status", target=moved).returncode == 0
    assert (client.hlen("scimpipe:{acme}:owners"), client.exists("scimpipe:{acme}:quirks")) == (1, 0)
    assert run("status", target=elsewhere).returncode == 0


def test_an_address_may_be_corrected_while_nobody_is_linked(run, redis_url):
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    run("status", target="http://127.0.0.1:9/scim")
    client.hset("scimpipe:{acme}:links", "somebody", "has no account there")
    assert run("status", target="http://127.0.0.1:10/scim").returncode == 0
    assert not client.exists("scimpipe:{acme}:links"), "found by asking another target"


def enqueue(folder, *users):
    return subprocess.run(
        [sys.executable, "-m", "producers.manual", "acme", *users],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
    )


def test_the_script_that_enqueues(run, folder, redis_url):
    uuid = json.loads(run("users", "anna", "--json").stdout)[0]["user"]
    done = enqueue(folder, uuid)
    assert (done.returncode, done.stdout.strip()) == (0, uuid)
    assert json.loads(run("status", "--json").stdout)["targets"]["acme"]["pending"] == 1


def test_a_uuid_in_capitals_is_the_same_user(run, folder, redis_url):
    """With a link of its own one person would be two, and the one who leaves would keep the account."""
    uuid = json.loads(run("users", "anna", "--json").stdout)[0]["user"]
    assert enqueue(folder, uuid.upper()).stdout.strip() == uuid
    (row,) = json.loads(run("provision", uuid.upper(), "--no-wait", "--json").stdout)
    assert row["user"] == uuid
    assert json.loads(run("status", "--json").stdout)["targets"]["acme"]["pending"] == 1


def test_a_name_is_not_enqueued_as_if_it_were_a_uuid(run, folder, redis_url):
    uuid = json.loads(run("users", "anna", "--json").stdout)[0]["user"]
    done = enqueue(folder, uuid, "anna")
    assert done.returncode == 2
    assert "'anna' is not a uuid; `scimpipe provision` takes names" in done.stderr
    assert json.loads(run("status", "--json").stdout)["targets"]["acme"]["pending"] == 0

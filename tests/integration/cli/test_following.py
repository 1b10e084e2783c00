"""`history --follow` for a script: the entries so far as one document, then a line of JSON for each new one, at once."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import redis

from config.settings import OperationName, Trigger
from provisioning.model import OutcomeName, Result
from state.entries import encode_result


def add(client: redis.Redis, user: str) -> None:
    result = Result("acme", user, Trigger.MANUAL, OperationName.CREATE, OutcomeName.DONE, ("userName",))
    client.xadd("scimpipe:{acme}:history", {"e": json.dumps(encode_result(result))})


def test_each_new_entry_is_a_line_of_json(run, folder, redis_url):
    client = redis.Redis.from_url(redis_url)
    add(client, "anna")
    # Writes the config.
    assert [each["user"] for each in json.loads(run("history", "--json").stdout)] == ["anna"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "history", "--follow", "--json"],
        cwd=folder,
        env={**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = b""
        deadline = time.monotonic() + 30
        while said.count(b"\n]\n") == 0 or len(said.partition(b"\n]\n")[2].splitlines()) < 2:
            assert time.monotonic() < deadline, said
            if select.select([process.stdout], [], [], 0.7)[0]:
                said += os.read(process.stdout.fileno(), 65536)
            elif said:
                add(client, "bert")
    finally:
        process.kill()
        process.wait()
    document, _, lines = said.partition(b"\n]\n")
    assert [each["user"] for each in json.loads(document + b"]")] == ["anna"]
    entries = [json.loads(line) for line in lines.splitlines()]
    assert {(each["user"], each["operation"], tuple(each["changes"])) for each in entries} == {
        ("bert", "create", ("userName",))
    }

"""Every key that a command prints with --json is explained in docs/json.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.test_commands import SCHEDULED
from tests.support.scim_server import scim_server

PAGE = Path(__file__).parents[3] / "docs/json.md"
NAMES = {"acme"}


def row(command: str) -> str:
    """What the page says of a command."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if re.match(rf"\| [^|]*`{command}`", line))


def keys(document: Any) -> set[str]:
    """At any depth, but of what holds values."""
    if isinstance(document, list):
        return set().union(*map(keys, document))
    if not isinstance(document, dict):
        return set()
    inner = [keys(value) for name, value in document.items() if name != "resource"]
    return (document.keys() - NAMES).union(*inner)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["check"], "check"),
        (["status"], "status"),
        (["pause", "acme"], "pause"),
        (["users"], "users"),
        (["preview", "anna"], "preview"),
        (["provision", "anna", "--no-wait"], "provision"),
        (["sync", "--dry-run"], "sync --dry-run"),
        (["sync", "--verify", "--no-wait"], "sync --verify"),
        (["fields"], "fields"),
        (["attributes"], "attributes"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_every_key_is_explained(run, arguments, command):
    with scim_server() as server:
        done = run(*arguments, "--json", target=server.base_url, field=SCHEDULED)
        assert done.stdout, done.stderr
        printed = keys(json.loads(done.stdout))
    said = row(command) + (row("sync") if command.startswith("sync ") else "")
    assert printed
    assert printed - set(re.findall(r'"(\w+)', said)) == set()


def test_a_dry_run_says_what_is_switched_off_and_what_the_guard_would_hold(run):
    with scim_server() as server:
        parts = {"target": server.base_url, "field": SCHEDULED.replace('["create"]', '["update"]')}
        done = run("sync", "--dry-run", "--json", **parts)
        assert "create is switched off in targets.acme.scheduled.operations" in done.stderr
        document = json.loads(done.stdout)
        assert (document["created"], document["skipped"]) == (0, len(document["planned"]))
    assert run("sync", "--dry-run", "--verify", **parts).returncode == 2

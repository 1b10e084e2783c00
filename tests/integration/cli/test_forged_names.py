"""Names from the site and from the target forge no line and reach no terminal: in tables, sentences, JSON and logs."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo.site import DrupalSite
from cli.output import Output
from config.logging import configure, get_logger
from tests.support.commands import Commands
from tests.support.scripted_target import Answer, Request, ScriptedTarget

# A line that was never ours, the screen cleared, a title set by C1 controls, text turned round, a link.
FORGED = (
    '\nok   forged: all is well\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u2028\r\x08{"event":"forged"}'
)
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CONFIG = """
[redis]
url = "{redis}"
[drupal]
url = "sqlite:///site.sqlite"
[targets.acme]
base_url = "{target}"
token = {{ file = "token" }}
[targets.acme.mapping]
userName = "name"
externalId = "uuid"
displayName = "field_first_name"
[targets.acme.manual]
operations = ["create", "update"]
"""
ACCOUNT: dict[str, Any] = {
    "id": f"id{FORGED}",
    "userName": f"anna{FORGED}",
    "externalId": f"somebody{FORGED}",
    "displayName": f"half \ud800 {FORGED}",
    "active": float("nan"),
}


def answer(request: Request) -> Answer:
    listing = {"totalResults": 1, "Resources": [ACCOUNT]}
    return Answer(200, listing, {"Content-Type": "application/scim+json"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, valkey_server: str) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("forged")
    site = DrupalSite.create(f"sqlite:///{made}/site.sqlite")
    site.add_user(f"anna{FORGED}", "anna@example.test", first_name=f"Anna{FORGED}")
    site.close()
    with ScriptedTarget(answer) as target:
        (made / "scimpipe.toml").write_text(CONFIG.format(redis=valkey_server, target=target.base_url))
        (made / "token").write_text("t")
        yield made


@pytest.fixture
def run(commands: Commands, folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: commands.run(arguments, folder, os.environ)


COMMANDS = (
    ["users"],
    ["preview", "anna@example.test"],
    ["remote"],
    ["remote", "evil"],
    ["check"],
    ["history"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_people_see_names_written_out(run, arguments):
    done = run(*arguments)
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    assert not CONTROL.search(shown), repr(shown)
    assert not re.search(r"^ok +forged", shown, re.MULTILINE)
    if arguments[0] in {"users", "remote", "preview"}:
        assert "forged" in shown, "the name was to be seen"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_json_is_json_and_moves_no_terminal(run, arguments):
    done = run(*arguments, "--json")
    assert not CONTROL.search(done.stdout), repr(done.stdout)

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(done.stdout, parse_constant=refused)
    if arguments[0] == "remote":
        # What a program reads is what there is, not what is safe to show.
        assert document[0]["userName"] == ACCOUNT["userName"]
        assert document[0]["displayName"] == ACCOUNT["displayName"]
    if arguments[0] == "users":
        assert document[-1]["name"] == f"anna{FORGED}"


def test_log_lines_stay_lines():
    for as_json in (True, False):
        stream = io.StringIO()
        before = logging.getLogger().handlers[:]
        try:
            configure(stream, json=as_json)
            get_logger().warning("user_failed", user=FORGED, detail=[FORGED], scim_id={FORGED: FORGED})
            logging.getLogger("dramatiq").warning("%s failed", FORGED)
        finally:
            logging.getLogger().handlers[:] = before
        lines = stream.getvalue().splitlines()
        assert len(lines) == 2
        text = "".join(lines)
        assert not CONTROL.search(re.sub(r"\x1b\[[0-9;]*m", "", text) if not as_json else text)
        assert all(json.loads(line)["level"] == "warning" for line in lines if as_json)


def test_a_sentence_is_one_line_and_an_error_document_is_json(capsys):
    Output(as_json=False).say(f"target {FORGED}")
    Output(as_json=False).note(f"target {FORGED}")
    Output(as_json=True).error(f"target {FORGED}")
    seen = capsys.readouterr()
    assert not CONTROL.search(seen.out + seen.err)
    plain, _, document = seen.out.partition("{\n")
    assert plain.count("\n") == 1
    assert json.loads("{\n" + document) == {"error": f"target {FORGED}"}

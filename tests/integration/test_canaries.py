"""Canary values, tokens and passwords go through every error path of real processes, and are found nowhere afterwards:
not in Redis or its file, the logs, history, dead letters, --json, or the arguments of any process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import make_url

from config.settings import LimitSettings
from provisioning.errors import ProvisioningError
from provisioning.model import Changes, Desired
from scim.target import ScimTarget
from tests.support import pipeline as pipelines
from tests.support.databases import fresh_database
from tests.support.jsonapi_site import JsonApiSite
from tests.support.opened_target import with_target
from tests.support.pipeline import Pipeline, pipeline
from tests.support.scripted_target import Answer, Request, ScriptedTarget
from tests.support.valkey import valkey

TOKEN = "canary-token-5521"
NAME = "canary-name"
CANARIES = ("canary", "CANARY", "canary-token", "Y2FuYXJ5")  # the last is "canary" in base64
ECHO = {"detail": f"{NAME} already exists", "scimType": f"{NAME}", "schemas": [f"urn:{NAME}"]}
DIED = f'{{"id": "1", "userName": "{NAME}'

# What a POST of one user is answered with; everything but the whole target's trouble, which has targets of its own.
FAULTS: Mapping[str, Answer] = {
    **{f"status-{status}": Answer(status, ECHO) for status in (400, 403, 405, 406, 409, 411, 412, 413, 414, 415, 418, 422, 428, 431, 451)},
    "uniqueness": Answer(400, {"scimType": "uniqueness", "detail": f"{NAME} is taken"}),
    "invalidValue": Answer(400, {"scimType": "invalidValue", "detail": f"{NAME} is wrong"}),
    "html-error": Answer(400, f"<html>{NAME}</html>"),
    "html": Answer(200, f"<html>{NAME}</html>"),
    "text": Answer(201, f"{NAME} was made"),
    "wrong-id": Answer(201, {"id": [NAME], "userName": NAME}),
    "cut": Answer(201, DIED, cut=20),
    "not-whole": Answer(201, DIED),
    "elsewhere": Answer(307, ECHO, {"Location": f"https://{NAME}.invalid/{NAME}?q={NAME}"}),
    "moved": Answer(301, ECHO, {"Location": f"/{NAME}"}),
    "nowhere": Answer(308, ECHO, {"Location": "http://["}),
    "deep": Answer(201, '{"a":' * 500 + f'"{NAME}"' + "}" * 500),
    "made": Answer(201, {"id": "made-1", "userName": NAME, "displayName": f"{NAME} rewritten"}),
}  # fmt: skip
WHOLE = {
    "unauthorized": Answer(401, ECHO, {"WWW-Authenticate": f'Bearer realm="{NAME}"'}),
    "forbidden": Answer(403, ECHO),
    "nothing": Answer(404, ECHO),
    "gone": Answer(410, ECHO),
    "throttled": Answer(429, ECHO, {"Retry-After": "1"}),
    "busy": Answer(503, ECHO, {"Retry-After": "1"}),
    "broken": Answer(500, f"<html>{NAME}</html>"),
    "reset": Answer(200, DIED, cut=0),
    "stalled": Answer(silent=True),
    "foreign": Answer(302, "", {"Location": f"https://{NAME}.invalid/login?user={NAME}"}),
}
SECTION = """
[targets.{name}.limits]
timeout_seconds = 2
max_attempts = 1
[targets.{name}.manual]
operations = ["create", "update"]
"""
# A defect of ours while one user is worked on, its text a value: put into the worker from outside.
DEFECT = """
from scim.target import ScimTarget

found = ScimTarget.find


async def find(self, attribute, value, **more):
    if "defect" in value:
        raise KeyError(f"canary-{value}")
    return await found(self, attribute, value, **more)


ScimTarget.find = find
"""


def answer(request: Request) -> Answer:
    """By the target's name, the first part of the path, and then by the user's."""
    target, _, path = request.path.lstrip("/").partition("/")
    if target in WHOLE:
        return WHOLE[target]
    if request.method == "POST":
        fault = request.body["userName"].removeprefix(f"{NAME}-")
        return FAULTS.get(fault, Answer(500, ECHO))
    return Answer(200, {"totalResults": 0, "Resources": []}) if path == "Users" else Answer(404, ECHO)


@dataclass
class Aftermath:
    """What is left when everything has failed: the pipeline still stands, its processes too."""

    running: Pipeline
    target: ScriptedTarget
    faults: Mapping[str, str]
    arguments: str

    def logs(self) -> str:
        return (self.running.folder / "processes.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder = tmp_path_factory.mktemp("canaries")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(pipelines, "TOKEN", TOKEN)
        injected = folder / "injected"
        injected.mkdir()
        (injected / "sitecustomize.py").write_text(DEFECT)
        patch.setenv("PYTHONPATH", f"{injected}{os.pathsep}{Path(__file__).parents[2]}")
        target = stack.enter_context(ScriptedTarget(answer))
        names = {name: SECTION.format(name=name) for name in ("each", *WHOLE)}
        running = stack.enter_context(
            pipeline("sqlite", folder, names, lambda name: f"{target.base_url}/{name}")
        )
        people = {fault: _add(running, fault) for fault in (*FAULTS, "defect", "unmapped")}
        # A value no text can be made of: the mapping fails for this user alone.
        running.site.edit(people["unmapped"], department="canary" * 20_000)
        running.start("worker", "scheduler")
        running.workers_ready()
        arguments = _arguments()
        for name in names:
            users = list(people.values()) if name == "each" else [people["made"], people["cut"]]
            running.run("provision", *users, "--target", name, "--no-wait", code=None)
        running.until(lambda: _settled(running, target, len(people)), 45)
        yield Aftermath(running, target, people, arguments + _arguments())


def _add(running: Pipeline, fault: str) -> str:
    person = f"{NAME}-{fault}"
    return running.site.add_user(
        person, f"{person}@canary.test", first_name=f"{NAME} first", last_name=f"{NAME} last",
        department=f"{NAME} department", interests=[f"{NAME} interest"],
    )  # fmt: skip


def _settled(running: Pipeline, target: ScriptedTarget, people: int) -> bool:
    each = running.run("status")["targets"]["each"]
    tried = {request.path.split("/")[1] for request in target.requests}
    return each["failed"] + each["linked"] >= people and tried >= WHOLE.keys()


def _arguments() -> str:
    """The command lines of every process there is."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def spotted(text: str) -> list[str]:
    """Lines with a canary in them; target names and our own paths are none."""
    return [line[:300] for line in text.splitlines() if any(canary in line for canary in CANARIES)]


def everything_in(client: redis.Redis) -> Iterator[str]:
    """Each key with its whole value, whatever its type."""
    readers: dict[str, Any] = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        if kind != "none":  # expired since it was listed
            yield f"{key!r} {readers[kind](key)!r}"


def test_the_canaries_were_really_there(aftermath):
    """Or nothing below would mean anything."""
    sent = "".join(f"{request.query}{request.body}" for request in aftermath.target.requests)
    assert all(f"{NAME}-{fault}" in sent for fault in FAULTS)
    assert {request.headers["authorization"] for request in aftermath.target.requests} == {f"Bearer {TOKEN}"}
    failed = {row["user"] for row in aftermath.running.run("dead-letters", "list", "--target", "each")}
    assert len(failed) >= len(FAULTS) - 2
    assert aftermath.faults["defect"] in failed
    assert aftermath.faults["unmapped"] in failed
    assert "unexpected_error" in aftermath.logs()


def test_no_key_and_no_value_in_redis_holds_one(aftermath):
    client = aftermath.running.redis()
    entries = list(everything_in(client))
    client.close()
    assert any(aftermath.faults["cut"] in entry for entry in entries), "the search finds what is there"
    assert spotted("\n".join(entries)) == []


def test_neither_does_what_redis_writes_to_disk(aftermath):
    files = [file for file in (aftermath.running.folder / ".scimpipe").rglob("*") if file.is_file()]
    text = "\n".join(file.read_bytes().decode("latin-1") for file in files)
    assert aftermath.faults["cut"] in text
    assert spotted(text) == []


def test_no_log_line_holds_one(aftermath):
    assert aftermath.faults["cut"] in aftermath.logs()
    assert spotted(aftermath.logs().replace(str(aftermath.running.folder), "")) == []
    assert "Traceback" not in aftermath.logs()


@pytest.mark.parametrize("command", ["status", "history", "dead-letters list", "held list", "check"], ids=str)
def test_no_json_document_holds_one(aftermath, command):
    document = json.dumps(aftermath.running.run(*command.split(), code=None))
    assert spotted(document.replace(str(aftermath.running.folder), "")) == []


def test_no_process_has_one_in_its_arguments(aftermath):
    assert "dramatiq" in aftermath.arguments
    assert TOKEN not in aftermath.arguments
    assert NAME not in aftermath.arguments


# -- every status ----------------------------------------------------------------------------------------------


def test_no_error_of_any_status_repeats_what_was_sent_or_answered():
    """400 to 599, the body an echo: what reaches dead letters and logs are these errors' words."""
    asks: tuple[Callable[[ScimTarget], Awaitable[Any]], ...] = (
        lambda target: target.create({"userName": NAME}),
        lambda target: target.get(NAME),
        lambda target: target.find("userName", NAME),
        lambda target: target.delete(NAME),
        lambda target: target.update(NAME, Changes({"title": NAME}), Desired({"title": NAME}), NAME),
    )
    statuses = itertools.cycle(range(400, 600))
    words: list[str] = []

    async def told(target: ScimTarget) -> None:
        # Features are asked for once: then every request gets the next status.
        answered = await asyncio.gather(
            *(ask(target) for _ in range(200) for ask in asks), return_exceptions=True
        )
        for error in answered:
            if isinstance(error, BaseException):
                assert isinstance(error, ProvisioningError), repr(error)
                words.append(f"{error} {error!r} {error.detail} {error.scim_type} {error.__cause__!r}")

    with ScriptedTarget(lambda request: Answer(next(statuses), ECHO)) as target:
        with_target(
            target.base_url, told, token=TOKEN, limits=LimitSettings(concurrency=64, timeout_seconds=30)
        )
        assert len(target.requests) > 600
        assert NAME in str([(each.path, each.query, each.body) for each in target.requests])
    assert len(words) > 700
    assert spotted("\n".join(words)) == []


# -- passwords that are refused ------------------------------------------------------------------------------

CONFIG = """
[redis]
{redis}
[drupal]
{drupal}
[targets.acme]
base_url = "http://127.0.0.1:9/scim"
token = {{ file = "password" }}
[targets.acme.mapping]
userName = "name"
externalId = "uuid"
[targets.acme.manual]
operations = ["create"]
"""
SECRET = 'password = { file = "password" }'


@pytest.fixture(params=["redis", "mariadb", "postgresql", "jsonapi"])
def refused(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[str]:
    """A config whose password somebody refuses."""
    parts = {"redis": f'url = "{redis_url}"', "drupal": 'url = "sqlite:///none.sqlite"'}
    with ExitStack() as stack:
        if request.param == "redis":
            url = stack.enter_context(valkey(tmp_path, "--requirepass", "right"))
            parts["redis"] = f'url = "{url}"\n{SECRET}'
        elif request.param == "jsonapi":
            site = stack.enter_context(JsonApiSite([]))
            parts["drupal"] = f'kind = "jsonapi"\nbase_url = "{site.base_url}"\nusername = "reader"\n{SECRET}'
        else:
            url = stack.enter_context(fresh_database(request.param, tmp_path))
            account = make_url(url).set(username="scimpipe_nobody", password=None)
            parts["drupal"] = f'url = "{account.render_as_string()}"\n{SECRET}'
        yield CONFIG.format(**parts)


def test_a_password_that_is_refused_is_nowhere(commands, tmp_path, refused):
    """A real process each: nothing but its output can hold it, as it gets no further."""
    (tmp_path / "scimpipe.toml").write_text(refused)
    (tmp_path / "password").write_text("canary-password-7741")
    for command in (["check", "--json"], ["users", "anna"]):
        done = commands.run(command, tmp_path, os.environ)
        told = done.stdout + done.stderr
        assert done.returncode != 0
        assert "canary" not in told
        assert "Traceback" not in told

"""Whatever a config file, a Drupal row or a target's answer holds: an error of ours, or a value; nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.loading import ConfigError, load
from config.settings import MappedValue, Secret, TargetSettings
from provisioning.depth import DEEPEST
from provisioning.errors import ProvisioningError
from provisioning.expressions import EvaluationError
from provisioning.mapping import compile_target, new_resource
from provisioning.model import Changes, Desired, SourceUser
from scim.authorization import BearerToken
from scim.client import ScimClient
from scim.quirks import QuirksInMemory
from scim.target import ScimTarget
from scim.transport import Transport

EXAMPLE = (Path(__file__).parents[2] / "scimpipe.example.toml").read_text(encoding="utf-8")
MAPPING = {
    "userName": MappedValue(value="name"),
    "externalId": MappedValue(value="uuid"),
    "active": MappedValue(value="status"),
    'emails[type eq "work"].value': MappedValue(value="mail | lower"),
    "title": MappedValue(value="field_interests | join(', ')"),
    "name.familyName": MappedValue(value="field_homepage.title | default(name) | upper | trim"),
}
quick = hypothesis_settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["True", "", "id-1"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@quick
@given(start=st.integers(0, len(EXAMPLE)), length=st.integers(0, 60), text=st.text(max_size=40))
def test_config_files(tmp_path, start, length, text):
    """The example with a piece of it replaced."""
    file = tmp_path / "scimpipe.toml"
    file.write_bytes((EXAMPLE[:start] + text + EXAMPLE[start + length :]).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        load(file, {})


@quick
@given(
    value=values,
    keys=st.lists(st.sampled_from(["drupal", "targets", "redis", "acme", "mapping", "x"]), max_size=4),
)
def test_config_from_the_environment(tmp_path, value, keys):
    file = tmp_path / "scimpipe.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    name = "SCIMPIPE__" + "__".join(keys)
    with contextlib.suppress(ConfigError):
        load(file, {name: json.dumps(value)})


@quick
@given(
    row=st.dictionaries(st.sampled_from(["name", "mail", "field_interests", "field_homepage"]), values),
    status=st.booleans(),
)
def test_source_rows(row, status):
    compiled = compile_target(
        TargetSettings(
            name="acme", base_url="https://a.example", mapping=MAPPING, scope="mail and name != 'x'"
        )
    )
    user = SourceUser(7, "u", {"uuid": "u", "status": status, "roles": [], **row})
    compiled.fingerprint(user, b"k" * 32)
    try:
        source = compiled.source("u", user, b"k" * 32)
    except EvaluationError:
        return
    assert source.desired is not None
    new_resource(source.desired)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


answers = st.one_of(
    values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "Resources", "totalResults", "meta", "active", "schemas", "userName", "nextCursor", "filter", "patch", "scimType", "detail"), values)
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from([nested(DEEPEST - 2), nested(DEEPEST + 2), nested(100_000), b"<html>", b"{"]),
)  # fmt: skip
headers = st.dictionaries(
    st.sampled_from(["Location", "ETag", "Retry-After", "Content-Type", "WWW-Authenticate"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
ASKS: dict[str, Any] = {
    "find": lambda target: target.find("externalId", "u"),
    "get": lambda target: target.get("id-1"),
    "create": lambda target: target.create({"userName": "ann"}),
    "update": lambda target: target.update("id-1", Changes({"title": "x"}), Desired({"title": "x"}), None),
    "delete": lambda target: target.delete("id-1"),
    "probe": lambda target: target.probe(),
    "features": lambda target: target.features(),
    "schemas": lambda target: target.schemas(),
    "listing": lambda target: _listed(target),
    "search": lambda target: target.search("x"),
}


async def _listed(target: ScimTarget) -> None:
    pages = 0
    async for _ in target.listing():
        pages += 1
        assert pages < 100


@pytest.mark.parametrize("ask", ASKS)
@hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(replies=st.lists(st.tuples(st.integers(200, 599), headers, answers), min_size=1, max_size=3))
def test_every_kind_of_answer(tmp_path, ask, replies):
    (tmp_path / "token").write_text("token")
    settings = TargetSettings(
        name="acme",
        base_url="https://acme.example/scim",
        token=Secret(file=tmp_path / "token"),
        mapping=MAPPING,
    )
    turn = iter(range(10**6))

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "acme.example"
        status, fields, content = replies[next(turn) % len(replies)]
        return httpx.Response(status, headers=fields, content=content)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            transport = Transport(settings.base_url, http, BearerToken(settings.token))
            target = ScimTarget(settings, http, ScimClient(transport), QuirksInMemory())
            with contextlib.suppress(ProvisioningError):
                await ASKS[ask](target)

    asyncio.run(run())

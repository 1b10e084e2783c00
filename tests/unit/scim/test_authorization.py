"""Bearer tokens (RFC 6750) and OAuth2 client credentials (RFC 6749 4.4), against a token endpoint over real HTTP."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest

from config.settings import OAuth2Settings, Secret
from provisioning.errors import Outage, Unauthorized
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget

EMPTY = Answer(body={"totalResults": 0, "Resources": []})
SECRET = "canary-secret"


class Issuer:
    """Issues t1, t2, ...; `lasting` seconds each."""

    def __init__(self, lasting: Any = 3600) -> None:
        self.asked: list[Request] = []
        self.lasting = lasting

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        # Long enough for requests that run at the same time to meet here.
        time.sleep(0.05)
        return Answer(body={"access_token": f"t{len(self.asked)}", "expires_in": self.lasting})


@pytest.fixture
def use(tmp_path) -> Callable[..., Any]:
    def run(issue: Callable[[Request], Answer], answer: Callable[[Request], Answer], body: Any) -> Any:
        (tmp_path / "secret").write_text(SECRET)
        with ScriptedTarget(issue) as issuer, ScriptedTarget(answer) as server:
            oauth2 = OAuth2Settings(
                token_url=issuer.base_url,
                client_id="client",
                client_secret=Secret(file=tmp_path / "secret"),
                scope="scim.write",
            )
            return with_target(server.base_url, body, oauth2=oauth2), server

    return run


def test_an_access_token_is_asked_for_once_by_many_requests_at_once(use):
    issuer = Issuer()

    async def body(target):
        await asyncio.gather(*(target.probe() for _ in range(8)))

    _, server = use(issuer, lambda _: EMPTY, body)
    assert len(issuer.asked) == 1
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer t1"}
    assert dict(parse_qsl(issuer.asked[0].body)) == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "client_secret": SECRET,
        "scope": "scim.write",
    }


def test_a_token_that_was_exchanged_in_its_file_costs_nobody_a_failure(tmp_path):
    """Rotated at the target and here within the second for which it is kept."""
    file = tmp_path / "token"
    file.write_text("old")

    async def body(target):
        await target.probe()
        file.write_text("new")
        await target.probe()
        file.write_text("")
        with pytest.raises(Unauthorized, match="token"):
            await target.probe()

    def answer(request: Request) -> Answer:
        good = "Bearer old" if len(server.requests) == 1 else "Bearer new"
        return EMPTY if request.headers["authorization"] == good and len(server.requests) < 4 else Answer(401)

    with ScriptedTarget(answer) as server:
        with_target(server.base_url, body, token_file=file)


def test_an_ended_token_is_renewed_once_by_many_requests_that_meet_it_and_none_fails(use):
    issuer, good = Issuer(), {"Bearer t1"}

    def answer(request: Request) -> Answer:
        time.sleep(0.05)
        return EMPTY if request.headers["authorization"] in good else Answer(401)

    async def body(target):
        await target.probe()
        good.clear()
        good.add("Bearer t2")
        await asyncio.gather(*(target.probe() for _ in range(8)))

    use(issuer, answer, body)
    assert len(issuer.asked) == 2


def test_a_token_is_renewed_before_it_ends(use):
    issuer = Issuer(lasting=0.2)

    async def body(target):
        await target.probe()
        await asyncio.sleep(0.15)
        await target.probe()

    use(issuer, lambda _: EMPTY, body)
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("lasting", [None, "3600", "soon", []])
def test_a_lifetime_of_any_shape_is_survived(use, lasting):
    issuer = Issuer(lasting)

    async def body(target):
        await target.probe()
        await target.probe()

    use(issuer, lambda _: EMPTY, body)
    assert len(issuer.asked) == 1


def test_a_target_that_refuses_every_token_is_asked_twice_and_no_more(use):
    issuer = Issuer()

    async def body(target):
        with pytest.raises(Unauthorized):
            await target.probe()

    _, server = use(issuer, lambda _: Answer(401), body)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(401, {"error": "invalid_client"}), Unauthorized),
        (Answer(400, {"error": "invalid_scope"}), Unauthorized),
        (Answer(200, "<html>"), Unauthorized),
        (Answer(200, {}), Unauthorized),
        (Answer(200, {"access_token": "a\nX-Evil: b"}), Unauthorized),
        (Answer(302, headers={"Location": "/login"}), Unauthorized),
        (Answer(429), Outage),
        (Answer(503), Outage),
        (Answer(silent=True), Outage),
    ],
    ids=["401", "400", "html", "no token", "line break", "302", "429", "503", "reset"],
)
def test_a_token_that_cannot_be_had_is_a_wrong_credential_or_a_passing_outage(use, answer, expected):
    async def body(target):
        with pytest.raises(Outage) as raised:
            await target.probe()
        return raised.value

    error, server = use(lambda _: answer, lambda _: EMPTY, body)
    assert type(error) is expected
    assert "oauth2.token_url" in error.detail
    assert SECRET not in f"{error} {error!r}"
    assert server.requests == []


@pytest.mark.parametrize("token", ["", "two\nlines", "caf\u00e9", "Bearer canary", "bearer canary"])
def test_a_token_that_cannot_be_sent_is_told_without_being_shown(token):
    with ScriptedTarget(lambda _: EMPTY) as server:

        async def body(target):
            with pytest.raises(Unauthorized) as raised:
                await target.probe()
            return raised.value.detail

        detail = with_target(server.base_url, body, token=token)
        assert server.requests == []
    assert "token" in detail
    assert not token or token not in detail


@pytest.mark.parametrize("refusal", [400, 401])
def test_a_token_endpoint_may_take_the_secret_in_its_header_only(use, refusal):
    """RFC 6749 2.3.1: the one way that every server has to have; Hydra's clients have no other unless told."""
    asked = []

    def issue(request: Request) -> Answer:
        asked.append(request)
        if "authorization" not in request.headers:
            return Answer(refusal, {"error": "invalid_client"})
        return Answer(body={"access_token": "t", "expires_in": 3600})

    async def body(target):
        await target.probe()

    use(issue, lambda _: EMPTY, body)
    assert b64decode(asked[-1].headers["authorization"].removeprefix("Basic ")).decode() == f"client:{SECRET}"
    assert dict(parse_qsl(asked[-1].body)) == {"grant_type": "client_credentials", "scope": "scim.write"}


def test_a_token_file_of_an_editor_that_marks_its_encoding_is_read(tmp_path):
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbfcanary\r\n")
    assert Secret(file=file).reveal() == "canary"

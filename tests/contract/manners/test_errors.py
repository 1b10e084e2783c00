"""DESIGN 5.3: What an answer that is none means, and that no token leaves the target's origin; over real HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
from email.utils import format_datetime

import pytest

from config.settings import Secret, TargetSettings
from provisioning.errors import (
    AmbiguousWrite,
    Conflict,
    Missing,
    Outage,
    Permanent,
    ProvisioningError,
    Throttled,
    Transient,
    Unauthorized,
)
from scim.target import open_target
from tests.support.manners import ANNA, CANARY, CHANGES, WANTED, listing, no_discovery
from tests.support.scripted_target import Answer, ScriptedTarget


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(400, {"scimType": "invalidValue"}), Permanent),
        (Answer(400, {"detail": f"{CANARY} already exists"}), Conflict),
        (Answer(400, {"scimType": "uniqueness"}), Conflict),
        (Answer(401), Unauthorized),
        (Answer(403), Permanent),
        (Answer(404), Outage),
        (Answer(409), Conflict),
        (Answer(409, {"scimType": "uniqueness", "detail": CANARY}), Conflict),
        (Answer(413), Permanent),
        (Answer(429), Throttled),
        (Answer(500, f"<html>{CANARY}"), AmbiguousWrite),
        (Answer(503), AmbiguousWrite),
        (Answer(503, headers={"Retry-After": "7"}), Throttled),
        (Answer(302, headers={"Location": "/scim/v3"}), AmbiguousWrite),
        (Answer(201, "<html>hello"), AmbiguousWrite),
        (Answer(201, ""), AmbiguousWrite),
        (Answer(201, {"id": "x", "userName": CANARY}, cut=12), AmbiguousWrite),
        (Answer(silent=True), AmbiguousWrite),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status),
)
def test_what_a_failed_create_means(use, answer, expected):
    async def body(target):
        with pytest.raises(ProvisioningError) as raised:
            await target.create({"userName": CANARY})
        return raised.value

    error, server = use(no_discovery(lambda _: answer), body)
    assert type(error) is expected
    assert CANARY not in str(error)
    assert "secret-token" not in repr(error)
    assert len(server.asked("POST")) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500), Transient),
        (Answer(502, "<html>"), Transient),
        (Answer(404), Missing),
    ],
    ids=["500", "502", "404"],
)
def test_what_a_failed_read_means(use, answer, expected):
    async def body(target):
        with pytest.raises(expected):
            await target.get("x")

    use(no_discovery(lambda _: answer), body)


def test_retry_after_in_seconds_and_as_a_date(use):
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)

    async def body(target):
        with pytest.raises(Throttled) as raised:
            await target.get("x")
        return raised.value.retry_after_seconds

    assert use(no_discovery(lambda _: Answer(429, headers={"Retry-After": "9"})), body)[0] == 9
    assert 50 < use(no_discovery(lambda _: Answer(429, headers={"Retry-After": later})), body)[0] <= 60
    assert use(no_discovery(lambda _: Answer(429)), body)[0] == 5


def test_an_answer_over_the_size_cap_is_refused(use):
    async def body(target):
        with pytest.raises(Transient, match="larger"):
            await target.get("x")

    use(no_discovery(lambda _: Answer(body={"id": "x", "note": "x" * 9_000_000})), body)


def test_a_redirect_keeps_the_method_and_the_token_never_leaves_the_origin(use):
    def answer(request):
        if request.path == "/Users":
            return Answer(307, headers={"Location": "/scim/moved/Users"})
        return Answer(201, {**ANNA, "id": "new"})

    async def create(target):
        return await target.create({"userName": "anna"})

    made, server = use(no_discovery(answer), create)
    assert made.scim_id == "new"
    # However base_url spells its host.
    loudly = {"spelled": lambda url: url.replace("http://127.0.0.1", "HTTP://LocalHost")}
    assert use(no_discovery(answer), create, **loudly)[0].scim_id == "new"
    assert [request.path for request in server.asked("POST")] == ["/Users", "/moved/Users"]

    with ScriptedTarget(lambda _: Answer(201, ANNA)) as elsewhere:

        async def fail(target):
            with pytest.raises(AmbiguousWrite, match="another origin"):
                await target.create({"userName": "anna"})

        use(no_discovery(lambda _: Answer(308, headers={"Location": f"{elsewhere.base_url}/Users"})), fail)
        assert elsewhere.requests == []


def test_a_target_that_is_down_is_an_outage(tmp_path):
    settings = TargetSettings(
        name="acme", base_url="http://127.0.0.1:9", token=Secret(file=tmp_path / "token"), mapping={}
    )

    async def body() -> None:
        target = open_target(settings)
        try:
            with pytest.raises(Outage):
                await target.probe()
        finally:
            await target.close()

    asyncio.run(body())


def test_a_token_put_right_in_its_file_works_at_once(use, tmp_path):
    async def body(target):
        with pytest.raises(Unauthorized):
            await target.probe()
        (tmp_path / "token").write_text("good")
        await target.probe()

    use(lambda request: listing() if request.headers["authorization"] == "Bearer good" else Answer(401), body)


def test_403_that_says_when_to_come_back_is_no_refusal(use):
    """GitHub's limit on writes, while everything can be read: a leaver's deactivation was a dead letter at once."""

    async def body(target):
        with pytest.raises(Throttled) as raised:
            await target.update("a", CHANGES, WANTED, None)
        return raised.value.retry_after_seconds

    def answer(request):
        limited = Answer(403, headers={"Retry-After": "60"})
        return limited if request.method in {"PATCH", "PUT"} else Answer(200, {**ANNA, "id": "a"})

    assert use(no_discovery(answer), body)[0] == 60

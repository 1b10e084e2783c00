"""Several who ask the same JSON:API session at once: a worker reads for several messages, a scheduler for several targets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config.settings import DrupalJsonApiSettings, Secret
from drupal.jsonapi import JsonApiReader
from provisioning.errors import SourceIdentityLost
from provisioning.model import SourceUser
from tests.support.jsonapi_site import JsonApiSite

BASE = {"status": True, "roles": [], "mail": None, "langcode": "en", "timezone": "UTC"}
TIMES = dict.fromkeys(("created", "changed", "access", "login"), 1000)
UUIDS = [f"0b000000-0000-4000-8000-{uid:012d}" for uid in range(1, 9)]
USERS = [
    SourceUser(uid, uuid, {"uid": uid, "uuid": uuid, "name": f"user{uid}", **BASE, **TIMES})
    for uid, uuid in enumerate(UUIDS, 1)
]


def asked(
    site: JsonApiSite, body: Callable[[JsonApiReader], Awaitable[None]], secret: Path, **known: str
) -> None:
    name = "client_secret" if "client_id" in known else "password"
    settings = DrupalJsonApiSettings(
        kind="jsonapi", base_url=site.base_url, **known, **{name: Secret(file=secret)}
    )

    async def run() -> None:
        reader = JsonApiReader(settings, frozenset())
        try:
            await body(reader)
        finally:
            await reader.close()

    asyncio.run(run())


@pytest.mark.parametrize("way", ["session", "token", "token refused"])
def test_of_several_reads_that_find_the_session_ended_one_signs_in_and_the_others_wait_for_it(tmp_path, way):
    (tmp_path / "secret").write_text("right" if way == "session" else "client-secret")
    known = {"username": "reader"} if way == "session" else {"client_id": "client"}
    with JsonApiSite(USERS, refuses_tokens=way == "token refused", sign_in_seconds=0.1) as site:

        async def body(reader: JsonApiReader) -> None:
            await reader.verify()
            site.sessions.clear()
            site.tokens.clear()
            read: list[Any] = await asyncio.gather(*(reader.read([uuid]) for uuid in UUIDS))
            assert [found[uuid].uid for found, uuid in zip(read, UUIDS, strict=True)] == list(range(1, 9))

        asked(site, body, tmp_path / "secret", **known)
        assert sum(method == "POST" for method, _, _ in site.requests) == 2


def test_a_password_that_is_refused_is_sent_once_however_many_ask_at_once(tmp_path):
    """Five failures would lock the account out for six hours, though its password had been put right meanwhile."""
    (tmp_path / "secret").write_text("wrong")
    with JsonApiSite(USERS, sign_in_seconds=0.1) as site:

        async def body(reader: JsonApiReader) -> None:
            told = await asyncio.gather(*(reader.read([uuid]) for uuid in UUIDS), return_exceptions=True)
            assert {type(each) for each in told} == {SourceIdentityLost}

        asked(site, body, tmp_path / "secret", username="reader")
        assert site.accounts[0].failures == 1

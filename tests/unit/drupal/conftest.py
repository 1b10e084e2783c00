"""A JSON:API site of 120 users, and asking it as one of its accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import DrupalJsonApiSettings, Secret
from drupal.jsonapi import JsonApiReader
from tests.support.jsonapi_reading import FIELDS, SECRET_NAME, user
from tests.support.jsonapi_site import Account, JsonApiSite


@pytest.fixture
def site() -> Iterator[JsonApiSite]:
    users = [user(uid) for uid in range(1, 121)]
    users[6] = user(7, status=False, roles=[], name=SECRET_NAME)
    accounts = [
        Account("reader", "right"),
        Account("profiles", "right", sees="profiles"),
        Account("mailer", "right", sees="mail"),
        Account("nobody", "right", sees="nothing"),
        Account("blocked", "right", blocked=True),
    ]
    with JsonApiSite(users, accounts) as served:
        yield served


@pytest.fixture
def ask(site: JsonApiSite, tmp_path: Path) -> Callable[..., Any]:
    def asker(
        body: Callable[[JsonApiReader], Awaitable[Any]],
        name: str = "reader",
        password: str = "right",
        names: frozenset[str] = FIELDS,
        **known: Any,
    ) -> Any:
        secret = tmp_path / "secret"
        secret.write_text(password)
        way = known or {"username": name, "password": Secret(file=secret)}
        settings = DrupalJsonApiSettings(kind="jsonapi", base_url=site.base_url, **way)

        async def run() -> Any:
            reader = JsonApiReader(settings, names)
            try:
                return await body(reader)
            finally:
                await reader.close()

        return asyncio.run(run())

    return asker

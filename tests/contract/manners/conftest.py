"""A target whose answers are placed by hand, and one piece of work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from config.settings import LimitSettings, MappedValue, Secret, TargetSettings
from scim.target import open_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget


@pytest.fixture(autouse=True)
def _token(tmp_path, request):
    (tmp_path / "token").write_text("secret-token")
    request.node.token = tmp_path / "token"


@pytest.fixture
def use(tmp_path) -> Callable[..., Any]:
    def user(
        answer: Callable[[Request], Answer],
        body: Callable[[Any], Any],
        quirks: Any = None,
        spelled: Callable[[str], str] = str,
        **known: Any,
    ) -> Any:
        with ScriptedTarget(answer) as server:
            settings = TargetSettings(
                name="acme",
                base_url=spelled(server.base_url),
                token=Secret(file=tmp_path / "token"),
                mapping={"userName": MappedValue(value="name")},
                limits=LimitSettings(timeout_seconds=2),
                **known,
            )

            async def run() -> Any:
                target = open_target(settings, quirks=quirks)
                try:
                    return await body(target)
                finally:
                    await target.close()

            return asyncio.run(run()), server

    return user

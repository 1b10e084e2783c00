"""What was learned of a target's manners, and how long it holds; on a real Valkey."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import MappedValue, TargetSettings
from state.memory import QuirkStore, RewrittenStore
from tests.support.valkey import with_redis

DISPLAY = {"displayName": MappedValue(value="name")}


def target(**edited: Any) -> TargetSettings:
    known = {"name": "acme", "base_url": "https://acme.example", "mapping": DISPLAY}
    return TargetSettings(**{**known, **edited})


def test_what_was_learned_is_shared(redis_url):
    async def body(client):
        settings = target()
        await RewrittenStore(QuirkStore(client, "acme"), settings).add(["displayName"])
        quirks = QuirkStore(client, "acme")
        assert await RewrittenStore(quirks, settings).names() == {"displayName"}
        await quirks.add("no_patch")
        (noted,) = await quirks.items() - {"no_patch"}
        assert (noted.startswith("rewritten:"), noted.endswith(":displayName")) == (True, True)

    with_redis(redis_url, body)


@pytest.mark.parametrize(
    ("edited", "known"),
    [
        ({}, {"displayName"}),
        ({"mapping": {"userName": MappedValue(value="mail"), **DISPLAY}}, {"displayName"}),
        ({"mapping": {"displayName": MappedValue(value="name | lower")}}, set()),
        ({"update_method": "put"}, set()),
    ],
)
def test_what_was_rewritten_is_forgotten_with_the_edit_that_may_have_mended_it(redis_url, edited, known):
    """Else it is never sent again, and `sync --verify` does not look at it."""

    async def body(client):
        await RewrittenStore(QuirkStore(client, "acme"), target()).add(["displayName"])
        assert await RewrittenStore(QuirkStore(client, "acme"), target(**edited)).names() == known

    with_redis(redis_url, body)

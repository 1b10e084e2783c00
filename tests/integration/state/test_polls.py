"""How change detection says that it gets on, on a real Valkey."""

from __future__ import annotations

import time

from state.polls import Polls
from tests.support.valkey import with_redis


def test_polls_that_fail_are_failing_since_the_first_until_one_ends(redis_url):
    async def body(client):
        polls = Polls(client)
        assert (await polls.read()).at is None
        assert await polls.failed("a page is incomplete")
        since = (await polls.read()).failing_since
        assert not await polls.failed("no answer")
        polled = await polls.read()
        assert (polled.failing_since, polled.reason, polled.at) == (since, "no answer", None)
        await polls.ended()
        polled = await polls.read()
        assert (polled.failing_since, polled.reason) == (None, "")
        assert abs(polled.at - time.time()) < 5
        assert await polls.failed("no answer")

    with_redis(redis_url, body)

"""Ctrl-C while a command does something that does not wait, such as importing a driver."""

from __future__ import annotations

import asyncio
import os
import signal

from redis.asyncio import Redis

from cli.session import DONE, Session


def test_an_interrupt_in_the_middle_of_an_import_ends_the_command(redis_url):
    """It was lost there, and a full sync went on after Ctrl-C."""
    went_on = False

    async def body() -> int:
        nonlocal went_on
        async with Redis.from_url(redis_url) as client:
            await client.ping()
            os.kill(os.getpid(), signal.SIGINT)
            await client.ping()
            await asyncio.sleep(5)
            went_on = True
        return DONE

    assert Session(None, as_json=False).code_of(body) == 130
    assert not went_on

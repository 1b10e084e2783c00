"""What one worker process keeps open, on a real Valkey."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dramatiq.brokers.stub import StubBroker

from config.settings import DrupalDatabaseSettings, RedisSettings, Settings
from workers.runtime import Runtime


def test_that_the_site_was_read_costs_each_message_no_word_to_redis(redis_url):
    drupal = DrupalDatabaseSettings(url="sqlite:///x")
    settings = Settings(path=Path("x"), redis=RedisSettings(url=redis_url), drupal=drupal, targets={})

    async def body() -> None:
        runtime = Runtime(settings, StubBroker())
        client = await runtime.connect()

        async def commands() -> int:
            return int((await client.info("stats"))["total_commands_processed"])

        await (await runtime.source_gate()).worked()
        before = await commands()
        await (await runtime.source_gate()).worked()
        assert await commands() == before + 1, "the question itself"
        await runtime.close()

    asyncio.run(body())

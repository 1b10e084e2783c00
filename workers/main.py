"""The worker process, as dramatiq's CLI starts it: `dramatiq workers.main:boot --queues interactive`.

The composition root: settings are read and connections made in `boot`, never at import.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import dramatiq
from dramatiq.middleware import CurrentMessage, ShutdownNotifications

from config.loading import ConfigError, load
from config.logging import configure, get_logger
from config.settings import Settings
from provisioning.mapping import MappingError
from state.broker import make_broker
from state.connection import RedisUnavailable, open_redis
from workers.actors import declare_actors
from workers.concurrency import Concurrency
from workers.middleware import EventLoop, Lifecycle
from workers.runtime import Runtime
from workers.throttle import Limit

EXIT_CONFIG, EXIT_UNREACHABLE = 2, 3


def boot(config: Path | None = None, concurrency: Callable[[int], Limit] = Concurrency) -> None:
    """Builds the broker, its middleware and the actors. Ends the process with a plain message when that fails.
    concurrency: from limits.concurrency, how many requests are under way.
    """
    # Not through dramatiq's pipe to its master, which is sys.stderr here: without a reader it fills up, and then every
    # line waits for ever.
    configure(sys.__stderr__ or sys.stderr)
    try:
        settings = load(config)
        lifecycle = Lifecycle(get_logger())
        broker = make_broker(settings, [lifecycle, EventLoop(), CurrentMessage(), ShutdownNotifications()])
        lifecycle.runtime = Runtime(settings, broker, concurrency=concurrency)
        asyncio.run(_settle(settings))
    except (ConfigError, MappingError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIG)
    except RedisUnavailable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_UNREACHABLE)
    dramatiq.set_broker(broker)
    declare_actors(broker, lifecycle)


async def _settle(settings: Settings) -> None:
    """Raises ConfigError, before anything is worked on. Without Redis it is looked at when that is there."""
    with contextlib.suppress(RedisUnavailable):
        await (await open_redis(settings)).aclose()

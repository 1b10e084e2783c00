"""The scimpipe command in processes of its own, forked from one that has loaded all its modules: to load them again for each
of some hundred commands takes longer than what the commands do.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PACKAGES = ("config", "drupal", "scim", "provisioning", "state", "producers", "cli")
LARGEST_MESSAGE = 1 << 20


class Commands:
    """Runs one command at a time."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.commands", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run would, with nothing to read. Raises TimeoutError."""
        asked = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        with _text_file() as said, _text_file() as errors:
            streams = [said.fileno(), errors.fileno()]
            self._channel.settimeout(seconds)
            socket.send_fds(self._channel, [json.dumps(asked).encode()], streams)
            code = int(self._channel.recv(LARGEST_MESSAGE))
            said.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(arguments, code, said.read(), errors.read())

    def close(self) -> None:
        self._channel.close()
        self._server.kill()
        self._server.wait()


def _text_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


def serve(channel: socket.socket) -> Sequence[str] | None:
    """Forks a process for each command that is asked for, and tells with what it ended. In a new process: its arguments, when all
    is as the command expects it. None: nobody asks any more.
    """
    while True:
        message, streams, _, _ = socket.recv_fds(channel, LARGEST_MESSAGE, 2)
        if not message:
            return None
        asked = json.loads(message)
        child = os.fork()
        if child == 0:
            channel.close()
            _settle(asked, streams)
            arguments: Sequence[str] = asked["arguments"]
            return arguments
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def _settle(asked: Mapping[str, object], streams: Sequence[int]) -> None:
    environment, folder = asked["environment"], asked["folder"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(folder))
    time.tzset()
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    # As Python itself makes them at its start: what is written to stderr is there with each line.
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115  # to the end of the process
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        from cli.main import main

        sys.argv = [str(ROOT / "cli" / "main.py"), *wanted]
        main()

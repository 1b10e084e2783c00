"""SCIMMY as a second, independent SCIM server (tests/scimmy), over real HTTP."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

FOLDER = Path(__file__).parents[1] / "scimmy"
START_SECONDS = 30


@dataclass(frozen=True)
class ScimmyServer:
    port: int
    token: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/scim/v2"

    def users(self) -> list[dict[str, Any]]:
        """The accounts as they are stored, read past SCIM."""
        found: list[dict[str, Any]] = self._control("__store")
        return found

    def requests(self) -> list[tuple[str, str]]:
        """(method, path without query) of everything that was asked, in order."""
        return [(each["method"], each["path"]) for each in self._control("__requests")]

    def _control(self, name: str) -> Any:
        return httpx.get(f"http://127.0.0.1:{self.port}/{name}").raise_for_status().json()


@contextmanager
def scimmy_server(token: str = "token") -> Iterator[ScimmyServer]:
    """Starts a server with no accounts and ends it. Skips where there is no node; in CI that is a failure."""
    node = _node()
    command = [node, str(FOLDER / "server.mjs"), "--port", "0", "--token", token]
    with tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            line = _first_line(server)
            if not line:
                errors.seek(0)
                pytest.fail(f"SCIMMY did not start within {START_SECONDS} s: {errors.read()[-2000:]}")
            yield ScimmyServer(json.loads(line)["port"], token)
        finally:
            server.kill()
            server.communicate()


def _node() -> str:
    node = shutil.which("node")
    if node is not None and (FOLDER / "node_modules" / "scimmy").is_dir():
        return node
    message = "no node, or tests/scimmy is not installed (make test does it, with npm)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _first_line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], START_SECONDS)
    return server.stdout.readline() if ready else ""

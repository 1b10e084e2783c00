"""SCIMMY as a second, independent SCIM server (tests/scimmy), over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

FOLDER = Path(__file__).parents[1] / "scimmy"


@dataclass(frozen=True)
class ScimmyServer:
    port: int
    token: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/scim/v2"

    def users(self) -> list[dict[str, Any]]:
        """The accounts as they are stored."""
        found: list[dict[str, Any]] = httpx.get(f"http://127.0.0.1:{self.port}/__store").json()
        return found


@contextmanager
def scimmy_server(token: str = "token") -> Iterator[ScimmyServer]:
    """Skips where there is no node; in CI that is a failure."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        message = "no node, or tests/scimmy is not installed (make test does it)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    command = [node, str(FOLDER / "server.mjs"), "--port", "0", "--token", token]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield ScimmyServer(json.loads(server.stdout.readline())["port"], token)
    finally:
        server.kill()
        server.wait()

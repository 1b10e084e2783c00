"""The real thing for e2e tests: real processes (dramatiq's CLI, Valkey, a SCIM server over HTTP) on a real site."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from typer.main import get_command

from cli.demo.site import DrupalSite
from cli.demo.target import free_port, listening, server_command
from cli.main import app
from state.embedded import EmbeddedServer, socket_path
from tests.support.databases import fresh_database

TOKEN = "e2e-token"
# Made once: it takes as long as some commands do.
COMMAND = get_command(app)
WAIT_SECONDS = 60
# A look costs up to a tenth of a second of CPU, which the processes looked at need.
LOOK_SECONDS = 0.3
# Never used, as all is on loopback; one with the system's certificates takes 40 ms to make, for each request.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

MAPPING = """
[targets.{name}.mapping]
userName = "name"
externalId = "uuid"
active = "status"
displayName = "name"
'name.givenName' = "field_first_name"
'name.familyName' = "field_last_name"
'emails[type eq "work"].value' = "mail | lower"
'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department' = "field_department"
userType = "'staff' if 'editor' in roles else 'member'"
title = "field_interests | join(', ')"
entitlements = "field_interests"
'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber' = "uid"
"""


@dataclass
class Pipeline:
    """A site, a folder with scimpipe.toml, and processes. base: the SCIM server's address without a tenant."""

    site: DrupalSite
    folder: Path
    address: Callable[[str], str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *commands: str) -> None:
        log = (self.folder / "processes.log").open("ab")
        for command in commands:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "cli.main", *command.split()],
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
        log.close()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes.clear()

    def environment(self) -> dict[str, str]:
        return {**os.environ, "SCIMPIPE_CONFIG": str(self.folder / "scimpipe.toml"), "E2E_TOKEN": TOKEN}

    def run(self, *arguments: str, code: int | None = 0) -> Any:
        """A command with --json: its document. code: the exit code expected; None: any. In this process, because
        starting one for each of some hundred commands takes most of the time; tests/integration/cli starts them.
        """
        os.environ["E2E_TOKEN"] = TOKEN
        config = ["--config", str(self.folder / "scimpipe.toml")]
        # With an encoding, as a process has it.
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            # Raises what a command does not tell of itself.
            ended = COMMAND.main([*arguments, "--json", *config], standalone_mode=False)
        said, errors = (stream.buffer.getvalue().decode() for stream in streams)
        assert code is None or ended == code, f"{arguments}: {ended}\n{said}\n{errors}"
        assert said, f"{arguments}: {ended}\n{errors}"
        return json.loads(said)

    def accounts(self, target: str) -> dict[str, dict[str, Any]]:
        """What exists on the target, by externalId (else userName)."""
        found: dict[str, dict[str, Any]] = {}
        for resource in self.resources(target):
            key = resource.get("externalId") or resource["userName"]
            assert key not in found, f"two accounts for {key}"
            found[key] = resource
        return found

    def resources(self, target: str) -> list[dict[str, Any]]:
        """What exists on the target, read without any code of ours."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.http("GET", target, f"/Users?startIndex={len(found) + 1}&count=500").json()
            found += page.get("Resources") or []
            if not page.get("Resources") or len(found) >= page["totalResults"]:
                return found

    def http(self, method: str, target: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
        answer = httpx.request(
            method,
            self.address(target) + path,
            headers=headers,
            timeout=WAIT_SECONDS,
            verify=_NO_TLS,
            **options,
        )
        assert answer.status_code < 300, answer.text
        return answer

    def until(self, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "processes.log").read_text()[-3000:]
            time.sleep(LOOK_SECONDS)

    def redis(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(socket_path(self.folder / ".scimpipe")))

    def workers_ready(self) -> None:
        self.until(lambda: self.run("status")["workers"] >= 2)


def leave_embedded(folder: Path) -> None:
    """Commands run in this process have joined the embedded server."""
    joined = EmbeddedServer._joined.get((folder / ".scimpipe").resolve())
    if joined is not None:
        joined.leave()


@contextmanager
def pipeline(
    kind: str,
    folder: Path,
    targets: Mapping[str, str],
    address: Callable[[str], str],
    people: int = 0,
    redis_url: str = "embedded",
    drupal: Callable[[str], str] = lambda url: f'kind = "database"\nurl = "{url}"',
) -> Iterator[Pipeline]:
    """targets: name -> the rest of its section. drupal: the [drupal] section for a database's URL. Starts nothing but the
    site's database.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(kind, folder))
        site = DrupalSite.create(url)
        stack.callback(site.close)
        if people:
            site.populate(people)
        text = [f"[drupal]\n{drupal(url)}\npoll_seconds = 0.5\n"]
        if redis_url != "embedded":
            text.append(f'[redis]\nurl = "{redis_url}"\n')
        for name, rest in targets.items():
            text.append(
                f'[targets.{name}]\nbase_url = "{address(name)}"\ntoken = {{ env = "E2E_TOKEN" }}\n{rest}'
            )
            text.append(MAPPING.format(name=name))
        (folder / "scimpipe.toml").write_text("\n".join(text), encoding="utf-8")
        running = Pipeline(site, folder, address)
        stack.callback(leave_embedded, folder)
        stack.callback(running.stop)
        yield running


@contextmanager
def scim2_server(folder: Path, tenants: list[str]) -> Iterator[Callable[[str], str]]:
    """The real scim2-server, one tenant a target. Gives target name -> base URL."""
    port = free_port()
    command = server_command(port, TOKEN)
    for tenant in tenants:
        command += ["--tenant", tenant]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        asyncio.run(listening(port, server, f"in {folder / 'server.log'}"))
        yield lambda tenant: f"http://127.0.0.1:{port}/{tenant}/v2"
    finally:
        server.kill()
        server.wait()

"""What a measurement runs in: a folder with a site, a Redis of its own, an endpoint, and scimpipe's own processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.demo.rows import Person
from cli.running import worker_command

ROOT = Path(__file__).parents[1]
MAPPING = {
    "userName": "name",
    "externalId": "uuid",
    "active": "status",
    "displayName": "name",
    "name.givenName": "field_first_name",
    "name.familyName": "field_last_name",
    'emails[type eq "work"].value': "mail | lower",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "field_department",
    "userType": "'staff' if 'editor' in roles else 'member'",
}
CONFIG = """
[redis]
url = "embedded"
[drupal]
url = "{site}"
poll_seconds = {poll_seconds}
[targets.bench]
base_url = "{base_url}"
token = {{ env = "BENCH_TOKEN" }}
matching = ["externalId", "userName"]
bulk = "{bulk}"
[targets.bench.mapping]
{mapping}
[targets.bench.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.bench.automatic]
operations = ["create", "update", "deactivate", "delete"]
[targets.bench.scheduled]
operations = ["create", "update", "deactivate", "delete"]
cron = "0 0 1 1 *"
[targets.bench.limits]
concurrency = {concurrency}
[targets.bench.guard]
max_removals = 1000000
max_removal_percent = 100
"""


def someone(number: int, department: str = "Research") -> Person:
    name = f"user{number:07d}"
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    return Person(
        uuid,
        name,
        f"{name}@mail.drupal-site.org",
        "Ada",
        f"Number {number}",
        department,
        (),
        None,
        ("editor",),
    )


@contextmanager
def endpoint(**manners: float) -> Iterator[str]:
    """A bench.endpoint process; its base URL."""
    options = [
        str(each) for name, value in manners.items() for each in (f"--{name.replace('_', '-')}", value)
    ]
    command = [sys.executable, "-m", "bench.endpoint", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def printed(*arguments: str) -> str:
    """What bench.bare prints."""
    command = [sys.executable, "-m", "bench.bare", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def bare(*arguments: str) -> dict[str, float]:
    """What a bare loop takes: count, seconds, cpu."""
    found: dict[str, float] = json.loads(printed(*arguments))
    return found


def posted(command: str, site: str, concurrency: int, base_url: str) -> dict[str, float]:
    """What a bare loop takes that posts: seconds as ours are counted, from the endpoint's first request to its last."""
    return {
        **bare(command, site, str(concurrency), base_url),
        "seconds": asked(f"{base_url}/stats")["seconds"],
    }


def asked(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def requests_in(stats: Mapping[str, Any]) -> int:
    """Requests of every kind an endpoint was asked."""
    return sum(value for name, value in stats.items() if " " in name)


@dataclass
class Place:
    """folder: holds scimpipe.toml and data_dir. base_url: the endpoint's. code: the checkout whose scimpipe runs."""

    folder: Path
    base_url: str
    code: Path = ROOT
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        config = str(self.folder / "scimpipe.toml")
        return {**os.environ, "SCIMPIPE_CONFIG": config, "BENCH_TOKEN": "bench", "PYTHONPATH": str(self.code)}

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def start_worker(self, lane: str = "bulk", boot: str | None = None) -> subprocess.Popen[bytes]:
        """One worker process, as the Procfile has it. boot: what makes it, as dramatiq's command is told; ours if None."""
        command = worker_command(lane)
        return self.start([boot if boot and part == "workers.main:boot" else part for part in command])

    def start_command(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start([sys.executable, "-m", "cli.main", *arguments])

    def run(self, *arguments: str, timeout: float = 3600) -> Any:
        """A command with --json, to its end; its document."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--json"], env=self.environment, cwd=self.folder,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 1}, done.stderr[-2000:]
        return json.loads(done.stdout)

    def wait_for_workers(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.run("status")["workers"] < count:
            assert time.monotonic() < deadline, (self.folder / "processes.log").read_text()[-2000:]
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes.clear()

    def stats(self) -> dict[str, Any]:
        return asked(f"{self.base_url}/stats")

    def reset(self) -> None:
        asked(f"{self.base_url}/reset")


@contextmanager
def place(
    folder: Path,
    base_url: str,
    site: str,
    *,
    concurrency: int = 32,
    bulk: str = "off",
    poll_seconds: float = 0,
) -> Iterator[Place]:
    """Starts no process of scimpipe's yet. site: the database's URL. A running command keeps the embedded Redis up."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(
        mapping="\n".join(f"'{path}' = \"{value}\"" for path, value in MAPPING.items()),
        site=site,
        base_url=base_url,
        concurrency=concurrency,
        bulk=bulk,
        poll_seconds=poll_seconds,
    )
    (folder / "scimpipe.toml").write_text(text, encoding="utf-8")
    made = Place(folder, base_url)
    try:
        yield made
    finally:
        made.stop()

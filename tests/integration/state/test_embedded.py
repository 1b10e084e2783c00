"""The embedded server with real processes: shared, started once, stopped after the last, nothing lost in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import redis

from state.embedded import EmbeddedServer, socket_path

USER = """
import sys
from pathlib import Path
from state.embedded import EmbeddedServer
server = EmbeddedServer.join(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def stopped(folder: Path, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not socket_path(folder).exists():
            return True
        time.sleep(0.05)
    return False


def test_many_processes_share_one_server_that_outlives_none_of_them(tmp_path):
    processes = [start(tmp_path) for _ in range(6)]
    urls = {process.stdout.readline().strip() for process in processes}
    assert len(urls) == 1
    client = redis.Redis.from_url(urls.pop(), decode_responses=True)
    assert client.config_get("appendonly")["appendonly"] == "yes"
    assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    client.set("kept", "yes")
    pid = client.info("server")["process_id"]
    for process in processes[:-1]:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.3)
    assert client.info("server")["process_id"] == pid
    client.close()
    processes[-1].send_signal(signal.SIGKILL)
    processes[-1].wait()
    assert stopped(tmp_path)

    server = EmbeddedServer.join(tmp_path)
    again = redis.Redis.from_url(server.url, decode_responses=True)
    assert again.get("kept") == "yes"
    again.close()
    server.leave()
    assert stopped(tmp_path)


def test_a_long_folder_name_is_no_obstacle_and_the_folder_is_private(tmp_path):
    folder = tmp_path / ("x" * 120)
    server = EmbeddedServer.join(folder)
    client = redis.Redis.from_url(server.url)
    assert client.ping()
    client.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    server.leave()
    assert stopped(folder)

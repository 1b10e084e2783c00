"""The embedded server with real processes: shared, started once, stopped after the last, nothing lost in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from state.embedded import EmbeddedServer, socket_path

USER = """
import sys
from pathlib import Path
from state.embedded import EmbeddedServer
server = EmbeddedServer.join(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
"""


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
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


def test_a_server_that_was_killed_is_there_again_with_what_it_had(tmp_path):
    """Its users are workers that run on: nobody else would start it."""
    server = EmbeddedServer.join(tmp_path)
    client = redis.Redis.from_url(server.url, decode_responses=True, retry=Retry(ConstantBackoff(0.1), 100))
    client.set("kept", "yes")
    client.config_set("appendfsync", "always")
    client.set("also", "yes")
    killed = client.info("server")["process_id"]
    os.kill(killed, signal.SIGKILL)
    assert client.mget("kept", "also") == ["yes", "yes"]
    assert client.info("server")["process_id"] != killed
    client.close()
    server.leave()
    assert stopped(tmp_path)


def test_processes_of_other_environments_share_the_server_all_the_same(tmp_path):
    """A service with a temporary folder of its own and a shell, say: two servers would be two ledgers."""
    folder = tmp_path / ("x" * 120)
    with ExitStack() as stack:
        # Short ones: a socket's path has room for little.
        places = [stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")) for _ in range(2)]
        processes = [start(folder, TMPDIR=place) for place in places]
        urls = [process.stdout.readline().strip() for process in processes]
        assert urls[0] == urls[1] != ""
        for process in processes:
            process.kill()
            process.wait()
        assert stopped(folder)


def test_a_second_server_never_gets_the_folder_of_one_that_it_cannot_reach(tmp_path):
    server = EmbeddedServer.join(tmp_path)
    path = socket_path(tmp_path)
    second = subprocess.run(
        [sys.executable, "-m", "state.embedded", str(tmp_path)], capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1
    assert f"another server has this folder, at {path}" in second.stderr
    client = redis.Redis.from_url(server.url)
    assert client.ping()
    client.close()
    server.leave()
    assert stopped(tmp_path)


def test_a_server_that_takes_long_to_load_its_file_is_waited_for(tmp_path):
    """Else whoever starts it leaves, it ends as the last one has left, and nobody ever gets it to run."""
    (tmp_path / "appendonlydir").mkdir()
    # Between any two thousand commands it answers that it is loading.
    slow = b"*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$6\r\n0.0004\r\n" * 6 * 1024
    kept = b"*3\r\n$3\r\nSET\r\n$4\r\nkept\r\n$3\r\nyes\r\n"
    (tmp_path / "appendonlydir/appendonly.aof.1.incr.aof").write_bytes(slow + kept)
    manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n"
    (tmp_path / "appendonlydir/appendonly.aof.manifest").write_text(manifest)
    server = EmbeddedServer.join(tmp_path, patience_seconds=2)
    client = redis.Redis.from_url(server.url, decode_responses=True)
    assert client.get("kept") == "yes"
    client.close()
    server.leave()
    assert stopped(tmp_path)

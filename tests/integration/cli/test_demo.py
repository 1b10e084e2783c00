"""`scimpipe demo`: one at a time in a folder, and a sentence where it cannot be made."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from cli.demo.target import free_port, listening, server_command
from cli.session import CommandError
from tests.faults.processes import family

COMMAND = [str(Path(sys.executable).with_name("scimpipe")), "demo"]


def demo(folder: Path, *options: str, before: str = ":") -> subprocess.CompletedProcess[str]:
    """before: what a shell does first."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'{before}; exec "$@"', "sh", *COMMAND, "--once", *options],
        cwd=folder, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert "Traceback" not in done.stderr + done.stdout
    assert "report the line above" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ('rmdir "$PWD"', "scimpipe-demo cannot be written: No such file or directory"),
        ("cd /proc", "scimpipe-demo cannot be written"),
        ("ulimit -f 0", "scimpipe-demo cannot be written: File too large"),
        # Room for the token, and not for the tables.
        ("ulimit -f 8", "the site's database in scimpipe-demo cannot be written"),
    ],
    ids=["a folder that is gone", "nobody may write", "a full disk", "a disk that is soon full"],
)
def test_where_nothing_can_be_written_is_told(tmp_path, before, why):
    folder = tmp_path / "here"
    folder.mkdir()
    done = demo(folder, before=before)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(why)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("/nowhere")], ids=["file", "link"])
def test_what_no_demo_has_made_is_left_alone(tmp_path, make):
    make(tmp_path / "scimpipe-demo")
    done = demo(tmp_path, "--json")
    assert (done.returncode, "scimpipe-demo is no folder" in json.loads(done.stdout)["error"]) == (2, True)
    assert [each.name for each in tmp_path.iterdir()] == ["scimpipe-demo"]


def test_a_second_demo_leaves_the_first_alone_and_a_killed_one_is_in_nobodys_way(tmp_path):
    with (tmp_path / "said").open("wb") as said:
        first = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 90
        while "Staying up" not in (tmp_path / "said").read_text():
            assert (first.poll(), time.monotonic() < deadline) == (None, True)
            time.sleep(0.2)
        config = (tmp_path / "scimpipe-demo" / "scimpipe.toml").read_text()
        second = demo(tmp_path)
        assert (second.returncode, f"(process {first.pid})" in second.stderr) == (2, True)
        assert (tmp_path / "scimpipe-demo" / "scimpipe.toml").read_text() == config
        assert first.poll() is None
    finally:
        left = family(first.pid)[1:]
        first.kill()
        first.wait()
    try:
        third = demo(tmp_path)
        assert (third.returncode, "demo: done" in third.stdout) == (0, True), third.stdout + third.stderr
    finally:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_token_that_looks_like_an_option_is_a_token():
    port = free_port()
    server = subprocess.Popen(server_command(port, "-token"), stderr=subprocess.DEVNULL)
    try:
        asyncio.run(listening(port, server, "in a log"))
        url, headers = f"http://127.0.0.1:{port}/v2/Users", {"Authorization": "Bearer -token"}
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
        assert httpx.get(url, trust_env=False).status_code == 401
    finally:
        server.kill()
        server.wait()


def test_a_target_that_has_ended_is_not_waited_for():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    began = time.monotonic()
    with pytest.raises(CommandError, match="the target has ended; its messages are in a log"):
        asyncio.run(listening(1, ended, "in a log"))
    assert time.monotonic() - began < 10

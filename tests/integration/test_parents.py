"""A worker that hangs when its parents are killed is ended all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HANGING = """
import os, signal, sys, time
from multiprocessing import Process
from workers import parents

class Silent:
    def warning(self, *_, **__):
        time.sleep(600)  # a log nobody reads

def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parents.LAST_SECONDS = 0.5
    parents.watch_parents(Silent(), "host:1:abc")
    print(os.getpid(), flush=True)
    time.sleep(600)

worker = Process(target=hang)
worker.start()
worker.join()
"""


def test_a_worker_that_hears_nothing_is_ended():
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", HANGING],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as master:
        assert master.stdout is not None
        worker = int(master.stdout.readline())
        try:
            assert _runs(worker)
            master.kill()
            deadline = time.monotonic() + 30
            while _runs(worker):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def _runs(pid: int) -> bool:
    """A zombie whom nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

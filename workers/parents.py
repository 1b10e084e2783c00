"""A worker whose parents are gone ends: nobody else would ever tell it to.

Watched from a thread of its own, for the event loop can be the very thing that hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import Any

from state.processes import abandoned

WATCH_SECONDS = 1.0
# A worker that was told to end is given its own time (cli.running.STOP_SECONDS) and some; then it is ended.
LAST_SECONDS = 15.0


def watch_parents(log: Any, owner: str) -> None:
    """Watches dramatiq's master, which forked this process, and whoever started that (SCIMPIPE_PARENT)."""
    threading.Thread(target=_watch, args=(log, owner), name="parents", daemon=True).start()


def _watch(log: Any, owner: str) -> None:
    parent = multiprocessing.parent_process()
    # The one that forked us, also when it was killed before we came here.
    master = (parent and parent.pid) or os.getppid()
    while os.getppid() == master and not abandoned():
        time.sleep(WATCH_SECONDS)
    # Before anything that could hang, as a log without a reader does.
    last = threading.Timer(LAST_SECONDS, os._exit, [1])
    last.daemon = True
    last.start()
    if parent is not None and os.getppid() == master:
        os.kill(master, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    log.warning("abandoned", owner=owner)

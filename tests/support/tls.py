"""Certificates of an authority made for a test, and a relay that speaks TLS in front of a server that does not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "localhost"


def make_certificates(folder: Path) -> Path:
    """ca.pem, and server.pem with its key, for localhost and no other name. Gives the folder."""
    names = ("ca.key", "ca.pem", "server.key", "server.csr", "server.crt", "names")
    ca_key, ca, key, request, certificate, extension = (str(folder / name) for name in names)
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    _openssl(*new, "-x509", "-keyout", ca_key, "-out", ca, "-subj", "/CN=ours", "-days", "2")
    _openssl(*new, "-keyout", key, "-out", request, "-subj", f"/CN={NAME}")
    Path(extension).write_text(f"subjectAltName=DNS:{NAME}")
    signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extension)
    _openssl("x509", "-req", "-in", request, "-out", certificate, *signing)
    (folder / "server.pem").write_text(Path(certificate).read_text() + Path(key).read_text())
    return folder


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextmanager
def tls_relay(port: int, certificates: Path) -> Iterator[int]:
    """The port of a relay to a plain server on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(raw, context, port), daemon=True).start()


def _relay(raw: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError):
        here = context.wrap_socket(raw, server_side=True)
        there = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=_copy, args=(there, here), daemon=True).start()
        _copy(here, there)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)

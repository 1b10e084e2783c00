"""A SCIM server that does what a test says: a function from request to answer, over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """body: JSON, or text sent as it is. cut: only so many bytes of it, then the connection breaks. silent: nothing."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    silent: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Of five, connections made at once are tried again a second later, and requests arrive long after they were sent.
    request_queue_size = 128


@dataclass
class ScriptedTarget:
    """answer: asked for each request. host: the address it listens on. requests: all that came."""

    answer: Callable[[Request], Answer]
    host: str = "127.0.0.1"
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        script = self

        class Handler(_Handler):
            pass

        Handler.script = script
        self._server = _Server((self.host, 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self._server.server_port}/scim"

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]


class _Handler(BaseHTTPRequestHandler):
    script: ScriptedTarget
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            parts.path.removeprefix("/scim"),
            dict(parse_qsl(parts.query)),
            headers,
            json.loads(raw) if raw[:1] in {b"{", b"["} else raw.decode() or None,
        )
        self.script.requests.append(request)
        answer = self.script.answer(request)
        if answer.silent:
            self._break()
            return
        body = (
            answer.body
            if isinstance(answer.body, str)
            else ""
            if answer.body is None
            else json.dumps(answer.body)
        )
        content = body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if answer.cut is None else content[: answer.cut])
        if answer.cut is not None:
            self._break()

    def _break(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815  # http.server's names

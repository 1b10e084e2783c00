"""The real scim2-server in this process, over real HTTP, with its features to switch and its store to look into."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from scim2_models import Pagination, ScimProvider
from scim2_server.memory import InMemoryStorage
from scim2_server.service import ScimService
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.testserver.cli import ThreadingWSGIServer
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)


@dataclass
class ScimServer:
    """requests: (method, path below the base URL, query, If-Match) of all that was asked, in order."""

    base_url: str
    token: str
    storage: InMemoryStorage
    requests: list[tuple[str, str, str, str | None]] = field(default_factory=list)

    def users(self) -> list[dict[str, Any]]:
        """The accounts as they are stored, read past SCIM."""
        stored = [each.model_dump() for each in self.storage.resources]
        return [each for each in stored if each["meta"]["resourceType"] == "User"]

    def asked(self, method: str) -> list[str]:
        return [path for verb, path, _, _ in self.requests if verb == method]


@dataclass(frozen=True)
class _Protocol:
    """What a server of some features says and takes; without a store, so one does for all of them. answered: the kinds of
    requests that were. first: held by the first one of a kind."""

    provider: ScimProvider
    service: ScimService
    answered: set[tuple[str, str]] = field(default_factory=set)
    first: threading.Lock = field(default_factory=threading.Lock)


@cache
def _protocol(patch: bool, filters: bool, etag: bool, cursor: bool, max_results: int) -> _Protocol:
    """It takes half a second to make, and its first requests as much."""
    config = load_default_service_provider_config()
    assert config.patch is not None
    assert config.filter is not None
    assert config.etag is not None
    config.patch.supported = patch
    config.filter.supported = filters
    config.filter.max_results = max_results
    config.etag.supported = etag
    if cursor:
        config.pagination = Pagination(cursor=True, index=False, max_page_size=max_results)
    provider = ScimProvider.from_discovery(
        load_default_schemas().values(), load_default_resource_types().values(), config=config
    )
    return _Protocol(provider, ScimService(provider, secret="cursors of a test"))


@contextmanager
def scim_server(
    *,
    token: str = "token",
    patch: bool = True,
    filters: bool = True,
    etag: bool = True,
    cursor: bool = False,
    max_results: int = 1000,
) -> Iterator[ScimServer]:
    """A server with no accounts. What is switched off is not announced and answered 501; cursor: instead of
    startIndex. max_results: the largest page.
    """
    protocol = _protocol(patch, filters, etag, cursor, max_results)
    storage = InMemoryStorage()
    application = BearerTokenApplication(
        storage, protocol.provider, service=protocol.service, bearer_tokens=[token]
    )
    running = ScimServer("", token, storage)

    def recorded(environ: dict[str, Any], start_response: Any) -> Any:
        path, method = environ["PATH_INFO"].removeprefix("/v2"), environ["REQUEST_METHOD"]
        query = environ.get("QUERY_STRING", "")
        running.requests.append((method, path, query, environ.get("HTTP_IF_MATCH")))
        kind = (method, path.split("/")[1])
        # The first request of a kind makes pydantic models, which two threads at once fail at: Python before 3.12 counts the
        # depth of what it parses for all threads together.
        with nullcontext() if kind in protocol.answered else protocol.first:
            answer = application(environ, start_response)
        protocol.answered.add(kind)
        return answer

    server = make_server(
        "127.0.0.1", 0, recorded, server_class=ThreadingWSGIServer, handler_class=_SilentHandler
    )
    running.base_url = f"http://127.0.0.1:{server.server_port}/v2"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        return

"""An HTTP proxy that makes faults, driven by a seed, between scimpipe and a real server. It writes down all it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.faults.record import Record
from tests.faults.target_faults import FAULTS, Call, Fault, Reply

_HOP = {"host", "connection", "content-length", "transfer-encoding", "keep-alive", "accept-encoding"}


class FaultProxy:
    """In front of `upstream` (a base URL). weights: fault -> share of the requests it befalls.

    Besides faults of single requests there are states: `refusing` (nobody listens), `unauthorized` (401 to all),
    `filters_ignored`, `lag_seconds` (new accounts are found that much later), `bucket` (requests a second, then 429),
    `redirect` (every answer sends elsewhere).
    """

    def __init__(
        self, upstream: str, seed: int, faults: Mapping[str, Fault] = FAULTS, host: str = "127.0.0.1"
    ) -> None:
        self.record = Record()
        self.weights: Mapping[str, float] = {}
        self.unauthorized = self.filters_ignored = False
        self.lag_seconds = 0.0
        self.delay_seconds = 0.0
        self.bucket: float | None = None
        self.redirect: str | None = None
        self._refusing = False
        self._host = host
        self._upstream = upstream
        self._faults = faults
        self._random = random.Random(seed)
        self._tokens, self._filled_at = 0.0, time.monotonic()
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self.port}/v2"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._run(),), daemon=True
        )
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def calm(self) -> None:
        """All faults off."""
        self.weights, self.unauthorized, self.filters_ignored = {}, False, False
        self.lag_seconds, self.bucket, self.redirect = 0.0, None, None
        self.refuse(on=False)

    def refuse(self, *, on: bool) -> None:
        if on != self._refusing:
            self._refusing = on
            asyncio.run_coroutine_threadsafe(self._listen(on=not on), self._loop).result(10)

    # -- serving -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            # A request goes on at the server when its client has gone, as it does with real ones.
            self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
            await self._runner.setup()
            await self._listen(on=True)
            self._ready.set()
            await self._stop.wait()
            await self._runner.cleanup()

    async def _listen(self, *, on: bool) -> None:
        if on:
            self._site = web.TCPSite(self._runner, self._host, self.port, reuse_address=True)
            await self._site.start()
            return
        await self._site.stop()
        for connection in list(self._runner.server.connections if self._runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        body = _json(raw)
        path = request.path.removeprefix("/v2")
        seen = self.record.begin(request.method, path, request.query_string, body)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)

        async def forward() -> Reply:
            for exchange in seen.exchanges:
                exchange.reached = True
            reply = await self._forward(request, path, raw)
            self.record.acted(seen, body, reply.status, reply.content)
            return self._lagging(request, reply)

        try:
            call = Call(request.method, path, dict(request.query), forward, self._random, body)
            name, reply = await self._reply(call)
            self.record.told(seen, name, None if reply.silent else reply.status, reply.content)
            return await _send(request, reply)
        finally:
            for exchange in seen.exchanges:
                exchange.ended = time.time()

    async def _reply(self, call: Call) -> tuple[str | None, Reply]:
        if self.unauthorized:
            return "unauthorized", Reply(401, b"{}")
        if self.redirect:
            return "redirect", Reply(307, headers=(("Location", f"{self.redirect}{call.path}"),))
        if self.bucket is not None and not self._take():
            return "throttled", Reply(429, b"{}", headers=(("Retry-After", "1"),))
        for name, share in self.weights.items():
            if self._random.random() < share:
                return name, await self._faults[name](call)
        ignored = self.filters_ignored and "filter" in call.query
        return ("filters_ignored" if ignored else None), await call.forward()

    def _take(self) -> bool:
        assert self.bucket is not None, "asked only when there is one"
        now = time.monotonic()
        self._tokens = min(self.bucket, self._tokens + (now - self._filled_at) * self.bucket)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _forward(self, request: web.BaseRequest, path: str, raw: bytes) -> Reply:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        query = {
            name: value
            for name, value in request.query.items()
            if not (self.filters_ignored and name == "filter")
        }
        async with self._session.request(
            request.method, self._upstream + path, params=query, data=raw or None, headers=headers
        ) as answer:
            content = await answer.read()
            kept = tuple(
                (name, answer.headers[name])
                for name in ("ETag", "Location", "Set-Cookie")
                if name in answer.headers
            )
            return Reply(answer.status, content, answer.headers.get("Content-Type", ""), kept)

    def _lagging(self, request: web.BaseRequest, reply: Reply) -> Reply:
        """New accounts are not found yet, neither by search nor in the listing."""
        page = _json(reply.content)
        if (
            not self.lag_seconds
            or request.method != "GET"
            or not isinstance(page, dict)
            or "totalResults" not in page
        ):
            return reply
        young = {
            scim_id for scim_id, at in self.record.created_at.items() if time.time() - at < self.lag_seconds
        }
        resources = [each for each in page.get("Resources") or [] if each.get("id") not in young]
        hidden = len(page.get("Resources") or []) - len(resources)
        body = {**page, "Resources": resources, "totalResults": page["totalResults"] - hidden}
        return Reply(reply.status, json.dumps(body).encode(), reply.content_type, reply.headers)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


async def _send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    headers = {**dict(reply.headers), "Content-Type": reply.content_type or "application/scim+json"}
    if reply.silent:
        _abort(request)
        return web.Response()
    if reply.cut is None and not reply.huge:
        return web.Response(status=reply.status, body=reply.content, headers=headers)
    response = web.StreamResponse(status=reply.status, headers=headers)
    if reply.cut is not None:
        response.content_length = len(reply.content)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(reply.content[: reply.cut])
        for _ in range(reply.huge // 65536):
            await response.write(b" " * 65536)
    if reply.cut is not None:
        _abort(request)
    return response


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()

"""One HTTP request to the target and its answer, bounded in time and size and confined to the target's origin."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from scim.authorization import Authorization
from scim.errors import NoAnswer, NotConnected, UnusableAnswer

MEDIA_TYPE = "application/scim+json"
LARGEST_BODY = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
REDIRECTS = 3
USER_AGENT = "scimpipe/0.1"

# What httpx raises, as the protocol's own words; a test fails on a class that is not here.
NETWORK_ERRORS: dict[type[httpx.HTTPError], type[NotConnected | NoAnswer | UnusableAnswer]] = {
    httpx.ConnectError: NotConnected,
    httpx.ConnectTimeout: NotConnected,
    httpx.PoolTimeout: NotConnected,
    httpx.ProxyError: NotConnected,
    httpx.UnsupportedProtocol: NotConnected,
    httpx.LocalProtocolError: NotConnected,
    httpx.ReadTimeout: NoAnswer,
    httpx.WriteTimeout: NoAnswer,
    httpx.ReadError: NoAnswer,
    httpx.WriteError: NoAnswer,
    httpx.CloseError: NoAnswer,
    httpx.RemoteProtocolError: NoAnswer,
    httpx.DecodingError: UnusableAnswer,
    httpx.TooManyRedirects: UnusableAnswer,
}


# Requests sent in the current task, for whoever wants to know what one user cost: a list to append to.
SENT: ContextVar[list[str] | None] = ContextVar("SENT", default=None)


class Limiter(Protocol):
    """Decides how many requests are under way at once (workers.throttle)."""

    def slot(self) -> AbstractAsyncContextManager[None]: ...

    def observed(self, status: int | None, seconds: float) -> None: ...


class Unlimited:
    def slot(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def observed(self, status: int | None, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: lower-case names. body: the JSON, None when empty or not JSON. is_json: whether it was JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any
    is_json: bool


def open_http(timeout_seconds: float, connections: int) -> httpx.AsyncClient:
    """Httpx over aiohttp; certificates are always verified; cookies are not kept."""

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections, ssl=httpx.create_ssl_context())
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return httpx.AsyncClient(
        transport=AiohttpTransport(client=session),
        timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
        follow_redirects=False,
        trust_env=False,
    )


class Transport:
    """Requests to one base URL. requests: how many were sent."""

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient,
        authorization: Authorization,
        limiter: Limiter | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._http = http
        self._authorization = authorization
        self._limiter = limiter or Unlimited()
        self.requests = 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """path: below the base URL, escaped. Any status is an answer. Raises NotConnected, NoAnswer, UnusableAnswer,
        CredentialMissing.
        """
        url = str(httpx.URL(self._base + path, params=params) if params else self._base + path)
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        answer = await self._send(method, url, content, headers or {})
        if answer.status == 401 and self._authorization.refused():
            answer = await self._send(method, url, content, headers or {})
        return answer

    async def _send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        for _ in range(REDIRECTS + 1):
            answer = await self._send_once(method, url, content, headers)
            if answer.status not in {301, 302, 303, 307, 308}:
                return answer
            url = self._redirected(url, answer, method)
        raise UnusableAnswer("the target redirects in circles; is base_url right?")

    def _redirected(self, url: str, answer: Answer, method: str) -> str:
        location = urljoin(url, answer.headers.get("location", ""))
        if urlsplit(location)[:2] != urlsplit(self._base)[:2]:
            raise UnusableAnswer(
                "the target redirects to another origin, which the token must not reach; correct base_url"
            )
        if answer.status not in {307, 308} and method != "GET":
            raise UnusableAnswer(
                f"the target answered a {method} with {answer.status}, which loses it; correct base_url"
            )
        return location

    async def _send_once(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        sent = {"Accept": f"{MEDIA_TYPE}, application/json", "User-Agent": USER_AGENT, **headers}
        sent["Authorization"] = await self._authorization.header()
        if content is not None:
            sent["Content-Type"] = MEDIA_TYPE
        async with self._limiter.slot():
            started = time.monotonic()
            status: int | None = None
            try:
                self.requests += 1
                if (sent_here := SENT.get()) is not None:
                    sent_here.append(method)
                async with self._http.stream(method, url, content=content, headers=sent) as response:
                    raw = await _read(response)
                    status = response.status_code
                    names = {name.lower(): value for name, value in response.headers.items()}
            except httpx.HTTPError as error:
                raise _network_error(error) from None
            finally:
                self._limiter.observed(status, time.monotonic() - started)
        return _answer(status, names, raw)


async def _read(response: httpx.Response) -> bytes:
    if int(response.headers.get("content-length") or 0) > LARGEST_BODY:
        raise UnusableAnswer(f"the target's answer is larger than {LARGEST_BODY} bytes")
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_BODY:
            raise UnusableAnswer(f"the target's answer is larger than {LARGEST_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _answer(status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    if not raw.strip():
        return Answer(status, headers, None, is_json=False)
    try:
        return Answer(status, headers, json.loads(raw), is_json=True)
    except (ValueError, RecursionError):
        if status < 400 and raw.lstrip()[:1] in {b"{", b"["}:
            raise NoAnswer("the target's answer was cut off") from None
        return Answer(status, headers, None, is_json=False)


def _network_error(error: httpx.HTTPError) -> NotConnected | NoAnswer | UnusableAnswer:
    cause = error.__cause__
    # httpx-aiohttp calls a connection that broke after the request was sent a ConnectTimeout; the cause tells.
    if isinstance(cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return NotConnected("the target's certificate is not trusted; is base_url right?")
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return NotConnected("the target cannot be reached; is base_url right, and the network up?")
    if isinstance(cause, aiohttp.ClientConnectionError):
        return NoAnswer("the connection broke before the target had answered")
    kind = next((NETWORK_ERRORS[each] for each in type(error).__mro__ if each in NETWORK_ERRORS), NoAnswer)
    words = {
        NotConnected: "the target cannot be reached; is base_url right, and the network up?",
        NoAnswer: "no whole answer came from the target in time",
        UnusableAnswer: "the target's answer cannot be decoded",
    }
    return kind(words[kind])

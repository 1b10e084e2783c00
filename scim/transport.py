"""One HTTP request to the target and its answer, bounded in time and size and confined to the target's origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol
from urllib.parse import urljoin

import httpx

from config.json_text import decoded, encoded
from provisioning.applying import LeaseLostError
from provisioning.depth import DEEPEST, too_deep
from provisioning.ports import Lease
from scim.authorization import Authorization
from scim.deadlines import Deadlines
from scim.errors import NoAnswer, UnusableAnswer, asked_to_wait
from scim.network import RAISED, network_error, read_bounded
from scim.wire import MEDIA_TYPE, PLAIN_JSON, connect_seconds

LARGEST_BODY = 8 * 1024 * 1024
REDIRECTS, MOST_REDIRECTS = frozenset({301, 302, 303, 307, 308}), 3

# Requests sent in the current task, for whoever wants to know what one user cost: a list to append to. SHARED in it is a
# part of a Bulk request that another user counts; TOLD is one in which this user's operation was answered by itself.
SENT: ContextVar[list[str] | None] = ContextVar("SENT", default=None)
SHARED, TOLD = "", "-"
# The lease on the user whom the current task works for: asked once more when a write has waited for its turn.
LEASE: ContextVar[Lease | None] = ContextVar("LEASE", default=None)
# A body, or what makes it once there is room to send it.
Content = bytes | Callable[[], bytes]


def counted(sent: Sequence[str]) -> int:
    """Requests in a list of SENT. The sum over all users is what the target was asked."""
    return len(sent) - sent.count(SHARED) - sent.count(TOLD)


class Turn(Protocol):
    """One request that may be sent now."""

    def answered(self, status: int | None, retry_after_seconds: float | None = None) -> None:
        """status: None when there was no answer. retry_after_seconds: how long the target asked to wait."""


class Limiter(Protocol):
    """Decides when a request may be sent (workers.throttle)."""

    def slot(self, kind: str) -> AbstractAsyncContextManager[Turn]:
        """kind: method and collection; requests of one kind take about as long as each other. Raises TooManyRequests
        when the target may not be asked for long.
        """


class Unlimited:
    def slot(self, kind: str) -> AbstractAsyncContextManager[Turn]:  # noqa: ARG002  # all are alike here
        return nullcontext(self)

    def answered(self, status: int | None, retry_after_seconds: float | None = None) -> None: ...


class Answer(NamedTuple):
    """headers: lower-case names. body: the JSON, None when there was none. foreign: there was something else, such as
    the HTML of a sign-in page.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = None
    foreign: bool = False


class Transport:
    """Requests to one base URL. timeout_seconds: the longest wait for a whole answer. requests: how many were sent.

    They go straight to httpx's transport: its client adds redirects, cookies and sign-in, which are not wanted here and
    cost as much as the request itself (bench/RESULTS.md).
    """

    def __init__(
        self,
        base_url: str,
        wire: httpx.AsyncBaseTransport,
        timeout_seconds: float,
        authorization: Authorization,
        limiter: Limiter | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._origin = _origin(httpx.URL(base_url))
        self._wire = wire
        self._authorization = authorization
        self._limiter = limiter or Unlimited()
        # Not one for each part of an answer, which starts anew with every byte: a whole answer has its end.
        connecting = httpx.Timeout(None, connect=connect_seconds(timeout_seconds))
        self._extensions = {"timeout": connecting.as_dict()}
        self._deadlines = Deadlines(timeout_seconds)
        self._last_asked: Mapping[str, str] = {}
        self._last_headers = httpx.Headers()
        self._urls: dict[str, httpx.URL] = {}
        self._media_type = MEDIA_TYPE
        self.requests = 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        content: Callable[[], bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """path: below the base URL, escaped. content: makes the body at the last moment, each time it is sent; what it
        raises passes. Any status is an answer. Raises NotConnected, NoAnswer, UnusableAnswer,
        CredentialMissing; LeaseLostError before a write whose user may be another worker's by now.
        """
        url = self._url(path, params)
        kind = f"{method} {path.split('/', 2)[1]}"
        whole: Content | None = content if body is None else encoded(body)
        known = dict(headers or {})
        if whole is not None:
            known["Content-Type"] = self._media_type
        answer = await self._send(method, url, whole, known, kind)
        if answer.status == 415 and known.get("Content-Type") == MEDIA_TYPE:
            answer = await self._send(method, url, whole, {**known, "Content-Type": PLAIN_JSON}, kind)
            if answer.status != 415:
                self._media_type = PLAIN_JSON
        return answer

    async def _send(
        self, method: str, url: httpx.URL, content: Content | None, headers: Mapping[str, str], kind: str
    ) -> Answer:
        """headers: all but the credential, of which another one is tried where the first had ended."""
        refused = False
        while True:
            credential = await self._authorization.header()
            signed = {**headers, "Authorization": credential}
            answer = await self._send_once(method, url, content, signed, kind)
            if answer.status in REDIRECTS:
                answer = await self._follow(answer, method, url, content, signed, kind)
            if refused or answer.status != 401 or not self._authorization.refused(credential):
                return answer
            refused = True

    def _url(self, path: str, params: Mapping[str, str | int] | None) -> httpx.URL:
        if params is None and (known := self._urls.get(path)) is not None:
            return known
        try:
            url = httpx.URL(self._base + path, params=params) if params else httpx.URL(self._base + path)
        except (httpx.InvalidURL, ValueError):
            raise UnusableAnswer("the address of the request cannot be built; is base_url right?") from None
        # Of collections, which are asked for over and over; not of each account.
        if params is None and path.count("/") == 1:
            self._urls[path] = url
        return url

    async def _follow(
        self,
        answer: Answer,
        method: str,
        url: httpx.URL,
        content: Content | None,
        headers: Mapping[str, str],
        kind: str,
    ) -> Answer:
        for _ in range(MOST_REDIRECTS):
            url = self._redirected(url, answer, method)
            answer = await self._send_once(method, url, content, headers, kind)
            if answer.status not in REDIRECTS:
                return answer
        raise UnusableAnswer("the target redirects in circles; is base_url right?")

    def _redirected(self, url: httpx.URL, answer: Answer, method: str) -> httpx.URL:
        try:
            location = httpx.URL(urljoin(str(url), answer.headers.get("location", "")))
            origin = _origin(location)
        except (ValueError, httpx.InvalidURL):
            raise UnusableAnswer("the target redirects to what is no address; is base_url right?") from None
        if origin != self._origin or location.userinfo:
            raise UnusableAnswer(
                "the target redirects to another origin or user, which the token must not reach; correct base_url"
            )
        if answer.status not in {307, 308} and method != "GET":
            raise UnusableAnswer(
                f"the target answered a {method} with {answer.status}, which loses it; correct base_url"
            )
        return location

    async def _send_once(
        self, method: str, url: httpx.URL, content: Content | None, headers: Mapping[str, str], kind: str
    ) -> Answer:
        async with self._limiter.slot(kind) as turn:
            # It may have waited for its turn for minutes.
            if method != "GET" and (lease := LEASE.get()) is not None and not lease.valid():
                raise LeaseLostError
            request = self._request(method, url, content() if callable(content) else content, headers)
            status: int | None = None
            wait: float | None = None
            deadline = self._deadlines.begin()
            try:
                self.requests += 1
                if (sent_here := SENT.get()) is not None:
                    sent_here.append(method)
                async with deadline:
                    status, names, raw = await self._exchange(request)
                wait = asked_to_wait(status, names)
            except RAISED as error:
                raise network_error(error) from None
            finally:
                self._deadlines.end(deadline)
                turn.answered(status, wait)
        return _answer(status, names, raw)

    def _request(
        self, method: str, url: httpx.URL, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Request:
        """From a stream, to which httpx adds nothing: aiohttp adds Host and Content-Length itself."""
        stream = httpx.ByteStream(content or b"")
        sent = self._headers(headers)
        request = httpx.Request(method, url, headers=sent, stream=stream, extensions=self._extensions)
        # Else httpx looks for one that fits, in each request anew; it has encoded them itself, as ASCII.
        request.headers.encoding = "ascii"
        request.read()
        return request

    def _headers(self, headers: Mapping[str, str]) -> httpx.Headers:
        """Nearly every request has the same ones as the one before, and making them out costs more than a copy."""
        if headers != self._last_asked:
            self._last_asked, self._last_headers = headers, httpx.Headers(headers)
        return self._last_headers

    async def _exchange(self, request: httpx.Request) -> tuple[int, Mapping[str, str], bytes]:
        response = await self._wire.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream), "of an asynchronous transport"
        try:
            names = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers.raw
            }
            return response.status_code, names, await read_bounded(response.stream, names, LARGEST_BODY)
        finally:
            await response.stream.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """As httpx has it: in small letters, and without a port that goes without saying."""
    return url.scheme, url.host, url.port


def _answer(status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    if not raw.strip():
        return Answer(status, headers)
    try:
        body = decoded(raw)
        if too_deep(body, raw):
            raise UnusableAnswer(f"the target's answer nests more than {DEEPEST} levels")
        return Answer(status, headers, body)
    except (ValueError, RecursionError):
        if status < 400 and raw.lstrip()[:1] in {b"{", b"["}:
            raise NoAnswer("the target's answer was cut off") from None
        return Answer(status, headers, foreign=True)

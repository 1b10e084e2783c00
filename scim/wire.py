"""Httpx over aiohttp, confined to what a service provider is asked: no redirect is followed, no cookie kept, no answer decompressed.

Transports for all of httpx's uses cost a sixth of a request more, and name a connection that broke as if it had never been there.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

import aiohttp
import httpx

from provisioning.inflate import ACCEPTED
from scim.errors import NotConnected

MEDIA_TYPE = "application/scim+json"
# What some take only (RFC 7644 3.8 has both).
PLAIN_JSON = "application/json"
CONNECT_SECONDS = 10.0
# What has not arrived after so long never does. A machine that is cut off for a while would send it again for minutes, though
# the worker that asked is gone, or has given up, and another one has its user (workers.leases).
ARRIVES_SECONDS = 8.0
USER_AGENT = "scimpipe/0.1"
# aiohttp sends these a second time when the connection breaks (as it does what only reads, which may be).
SENT_AGAIN = frozenset({"PUT", "DELETE"})
ALWAYS_SENT = {
    "Accept": f"{MEDIA_TYPE}, {PLAIN_JSON}",
    "Accept-Encoding": ACCEPTED,
    "User-Agent": USER_AGENT,
}


class Wire(httpx.AsyncBaseTransport):
    """Adds ALWAYS_SENT; certificates are always verified, against ca_file if there is one. connections: at the most.

    Raises what aiohttp does (scim.network), and NotConnected for a ca_file that cannot be read.
    """

    def __init__(self, connections: int, ca_file: Path | None = None) -> None:
        self._connections = connections
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._opened()
        limits = request.extensions["timeout"]
        answer = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=request.content or None,
            allow_redirects=False,
            timeout=_timeout(limits["pool"], limits["connect"], limits["read"]),
            middlewares=(_sent_once,) if request.method in SENT_AGAIN else (),
        )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Within the loop that it is used in."""
        connector = aiohttp.TCPConnector(
            limit=self._connections, ssl=_trusted(self._ca_file), socket_factory=_socket
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=ALWAYS_SENT,
            auto_decompress=False,
        )


async def _sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """The first may still be carried out, after the second and whatever followed it: whether to write again is decided where the
    lease and the time that a late write takes are known. Raises what aiohttp does not repeat.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise aiohttp.ClientConnectionError from None


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._answer.content.iter_any())

    async def aclose(self) -> None:
        self._answer.release()
        await self._answer.wait_for_close()


@lru_cache(maxsize=16)
def _timeout(pool: float | None, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=pool, sock_connect=connect, sock_read=read)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * ARRIVES_SECONDS))
    return made


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Raises NotConnected: the file was there when the settings were read."""
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    except OSError:
        name = "ca_file" if ca_file else "SSL_CERT_FILE"
        raise NotConnected(f"{name} cannot be read as certificates any more; put it right") from None


def timeouts(seconds: float) -> httpx.Timeout:
    """seconds: the longest wait for a part of an answer."""
    return httpx.Timeout(seconds, connect=connect_seconds(seconds))


def connect_seconds(seconds: float) -> float:
    """Whoever cannot be reached is found to be so before the answer is late: nothing was sent, then."""
    return min(CONNECT_SECONDS, seconds / 3)

"""What httpx and aiohttp raise, in the protocol's own words. Their texts are never kept: they quote URLs and bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping

import aiohttp
import httpx

from provisioning.inflate import Body, BodyTooLargeError, BodyUndecodableError
from scim.errors import AnswerTooLarge, NoAnswer, NotConnected, UnusableAnswer

Failure = NotConnected | NoAnswer | UnusableAnswer

# A test fails on a class of httpx that is not here.
NETWORK_ERRORS: dict[type[httpx.HTTPError], type[Failure]] = {
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
# What scim.wire raises, as it is or below an error of httpx's. The first that fits counts.
_CAUSES: tuple[tuple[tuple[type[Exception], ...], type[Failure], str], ...] = (
    (
        (aiohttp.ClientConnectorCertificateError,),
        NotConnected,
        "the target's certificate is not trusted; is base_url right?",
    ),
    (
        (aiohttp.ClientConnectorSSLError,),
        NotConnected,
        "there is no TLS at that port of the target, or none that works from here; are https:// and the port in base_url right?",
    ),
    (
        (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL),
        NotConnected,
        "the target cannot be reached; is base_url right, and the network up?",
    ),
    ((TimeoutError,), NoAnswer, "no whole answer came from the target in time"),
    ((aiohttp.ClientPayloadError,), NoAnswer, "the target's answer was cut off"),
    ((aiohttp.ClientResponseError,), UnusableAnswer, "the target's answer is not HTTP"),
    (
        (aiohttp.ClientConnectionError, OSError),
        NoAnswer,
        "the connection broke before the target had answered",
    ),
)
_WORDS: dict[type[Failure], str] = {
    NotConnected: "the target cannot be reached; is base_url right, and the network up?",
    NoAnswer: "no whole answer came from the target in time",
    UnusableAnswer: "the target's answer cannot be decoded",
}
# What a request may raise below us.
RAISED = (httpx.HTTPError, aiohttp.ClientError, OSError)


def network_error(error: BaseException) -> Failure:
    """error: one of RAISED."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else error
    for kinds, failure, words in _CAUSES:
        if isinstance(cause, kinds):
            return failure(words)
    kind = next((NETWORK_ERRORS[each] for each in type(error).__mro__ if each in NETWORK_ERRORS), NoAnswer)
    return kind(_WORDS[kind])


async def read_bounded(parts: AsyncIterable[bytes], headers: Mapping[str, str], largest: int) -> bytes:
    """The body, decompressed, at most `largest` bytes of it. headers: lower-case names. Raises AnswerTooLarge, UnusableAnswer."""
    too_large = f"the answer is larger than {largest} bytes"
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:20]) > largest:
        raise AnswerTooLarge(too_large)
    try:
        body = Body(headers.get("content-encoding", ""), largest)
        async for part in parts:
            body.add(part)
        return body.whole()
    except BodyTooLargeError:
        raise AnswerTooLarge(too_large) from None
    except BodyUndecodableError:
        raise UnusableAnswer(_WORDS[UnusableAnswer]) from None

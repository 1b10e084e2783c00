"""What aiohttp raises, in the protocol's own words. Its texts are never kept: they quote URLs and bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping

import aiohttp

from provisioning.inflate import Body, BodyTooLargeError, BodyUndecodableError
from scim.errors import AnswerTooLarge, NoAnswer, NotConnected, UnusableAnswer

Failure = NotConnected | NoAnswer | UnusableAnswer

# What scim.wire may raise.
RAISED = (aiohttp.ClientError, OSError)
# The first that fits counts; the last one fits all.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], type[Failure], str], ...] = (
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
    (
        (aiohttp.ClientResponseError,),
        UnusableAnswer,
        "the target's answer is not valid HTTP (perhaps a body after a 204: see docs/targets.md, when the target deviates); is base_url right?",
    ),
    (
        RAISED,
        NoAnswer,
        "the connection broke before the target had answered; if it always does, is the port in base_url that of a web server?",
    ),
)


def network_error(error: BaseException) -> Failure:
    """error: one of RAISED."""
    return next(failure(words) for kinds, failure, words in _FAILURES if isinstance(error, kinds))


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
        raise UnusableAnswer("the target's answer cannot be decoded") from None

from __future__ import annotations

import inspect
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest

from scim.errors import NoAnswer, NotConnected, UnusableAnswer
from scim.network import NETWORK_ERRORS, RAISED, network_error

CANARY = "canary-value"
KEY = aiohttp.client_reqrep.ConnectionKey("canary-value", 443, True, True, None, None, None)
# Raised for a use of the library that is not ours, by an option we do not set, or (InvalidURL) caught where it arises.
NOT_OF_THE_NETWORK = {httpx.HTTPStatusError, httpx.InvalidURL, httpx.CookieConflict}


def classes(module: Any, below: type[BaseException]) -> list[type[BaseException]]:
    members = [each for _, each in inspect.getmembers(module, inspect.isclass)]
    return [each for each in members if issubclass(each, below)]


def test_every_exception_of_httpx_is_mapped_or_cannot_come():
    for kind in classes(httpx, Exception):
        usage = issubclass(kind, httpx.StreamError) or kind in NOT_OF_THE_NETWORK
        if not usage and not kind.__subclasses__():
            assert any(each in NETWORK_ERRORS for each in kind.__mro__), kind


def made(kind: type[BaseException]) -> BaseException:
    info = SimpleNamespace(real_url=f"https://x/?filter={CANARY}", host=CANARY, ssl=True)
    for arguments in (
        (KEY, OSError(1, CANARY)),
        (KEY, ssl.SSLCertVerificationError(1, CANARY)),
        (info, ()),
        (SimpleNamespace(expected=b"", got=b"", host=CANARY, port=1),),
        (b"a", b"b", CANARY, 1),
        (CANARY,),
        (),
    ):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"{kind} is made in another way")


@pytest.mark.parametrize("kind", classes(aiohttp, aiohttp.ClientError), ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_is_caught_and_loses_its_words(kind):
    assert issubclass(kind, RAISED)
    error = network_error(made(kind))
    assert isinstance(error, NotConnected | NoAnswer | UnusableAnswer)
    assert CANARY not in f"{error} {error!r}"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), NoAnswer),
        (aiohttp.ClientOSError(104, "reset"), NoAnswer),
        (aiohttp.SocketTimeoutError(), NoAnswer),
        (aiohttp.ConnectionTimeoutError(), NotConnected),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), NotConnected),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_whether_anything_was_sent_is_told_by_the_cause_not_by_httpx_aiohttps_name_for_it(cause, expected):
    """httpx-aiohttp calls all of these connect errors or timeouts; only two of them are safe to send again."""
    wrapped = httpx.ConnectTimeout("x")
    wrapped.__cause__ = cause
    assert type(network_error(wrapped)) is expected

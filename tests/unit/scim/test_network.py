from __future__ import annotations

import inspect
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from scim.errors import NoAnswer, NotConnected, UnusableAnswer
from scim.network import RAISED, network_error

CANARY = "canary-value"
KEY = aiohttp.client_reqrep.ConnectionKey("canary-value", 443, True, True, None, None, None)


def classes(module: Any, below: type[BaseException]) -> list[type[BaseException]]:
    members = [each for _, each in inspect.getmembers(module, inspect.isclass)]
    return [each for each in members if issubclass(each, below)]


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
    ("error", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), NoAnswer),
        (aiohttp.ClientOSError(104, "reset"), NoAnswer),
        (aiohttp.SocketTimeoutError(), NoAnswer),
        (aiohttp.ConnectionTimeoutError(), NotConnected),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), NotConnected),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_whether_anything_was_sent_is_told(error, expected):
    """Only what was certainly not sent is safe to send again."""
    assert type(network_error(error)) is expected

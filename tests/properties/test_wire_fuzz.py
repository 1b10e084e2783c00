"""What a target may put on the wire, byte by byte: odd headers, compression that lies, JSON that Python alone reads,
nesting without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.settings import MappedValue, OAuth2Settings, Secret, TargetSettings
from provisioning.depth import DEEPEST
from provisioning.errors import ProvisioningError
from provisioning.model import Changes, Desired, RemoteUser
from scim.authorization import authorization
from scim.client import ScimClient
from scim.discovery import Discovery
from scim.errors import UnusableAnswer
from scim.network import read_bounded
from scim.quirks import QuirksInMemory
from scim.target import ScimTarget
from scim.transport import Transport
from scim.writes import SingleRequests

ODD = [
    "\ud800",
    "..",
    ".",
    "/",
    "a b",
    "x" * 5000,
    "9" * 5000,
    "\x1b[2J",
    "http://[",
    0,
    -1,
    1e999,
    float("nan"),
    True,
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
USER = {"id": "id-1", "externalId": "u", "userName": "ann", "active": True, "meta": {"version": 'W/"1"'}}
LIST = {"totalResults": 1, "Resources": [USER], "nextCursor": "", "startIndex": 1, "itemsPerPage": 1}
CONFIG = {
    "patch": {"supported": True},
    "filter": {"supported": True, "maxResults": 9},
    "etag": {"supported": True},
}
TOKEN = {"access_token": "t", "expires_in": 60}


def spoiled(good: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    over = st.dictionaries(st.sampled_from([*good, "detail", "scimType"]), anything, max_size=2)
    return over.map(lambda changed: {**good, **changed})


bodies = st.one_of(
    *map(spoiled, (USER, LIST, CONFIG, TOKEN)),
    spoiled(USER).map(lambda user: {**LIST, "Resources": [user]}),
    anything,
).map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [
        *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (DEEPEST - 2, DEEPEST + 2, 100_000)),
        b"<html>",
        b"{",
    ]
)
compressed = bodies.map(zlib.compress)
contents = st.one_of(
    bodies.map(lambda body: (body, b"")),
    compressed.map(lambda body: (body, b"gzip")),
    st.tuples(compressed.map(lambda body: body[:-3]) | st.binary(max_size=30), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"\xff"])),
)  # fmt: skip
odd_values = st.binary(max_size=12).filter(lambda value: not set(value) & {0, 10, 13}) | st.sampled_from(
    [b"\xc2\xb2", b"99999999999999999999", b"Fri, 99 Xxx 99999 00:00:00", b"http://[", b"//evil.example/x", b"/Users/..", b"/Users/%ed%a0%80"]
)  # fmt: skip
headers = st.dictionaries(
    st.sampled_from([b"Location", b"ETag", b"Retry-After", b"Content-Type", b"Content-Length"]),
    odd_values,
    max_size=3,
)
replies = st.tuples(
    st.sampled_from([200, 200, 200, 201, 204, 307, 400, 404, 409, 429, 503]) | st.integers(200, 599),
    headers,
    contents,
)

ASKS: dict[str, Any] = {
    "find": lambda target: target.find("userName", "ann"),
    "get": lambda target: target.get("id-1"),
    "create": lambda target: target.create({"userName": "ann"}),
    "update": lambda target: target.update("id-1", Changes({"title": "x"}), Desired({"title": "x"}), 'W/"1"'),
    "delete": lambda target: target.delete("id-1"),
    "probe": lambda target: target.probe(),
    "features": lambda target: target.features(),
    "schemas": lambda target: target.schemas(),
    "search": lambda target: target.search("ann"),
    "listing": lambda target: _listed(target),
}


async def _listed(target: ScimTarget) -> list[RemoteUser]:
    found: list[RemoteUser] = []
    pages = 0
    async for page in target.listing():
        found += page
        pages += 1
        assert pages < 100
    return found


class Stream(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


@pytest.mark.parametrize("oauth2", [False, True], ids=["token", "oauth2"])
@pytest.mark.parametrize("ask", ASKS)
@hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_replies=st.lists(replies, min_size=1, max_size=4))
def test_every_byte_of_an_answer(tmp_path: Path, ask: str, oauth2: bool, given_replies: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-secret")
    token_url = "https://id.example/token"
    credential: dict[str, Any] = {"token": Secret(file=secret)}
    if oauth2:
        credential = {
            "oauth2": OAuth2Settings(token_url=token_url, client_id="c", client_secret=Secret(file=secret))
        }
    settings = TargetSettings(
        name="acme",
        base_url="https://acme.example/scim",
        mapping={"userName": MappedValue(value="name")},
        **credential,
    )
    turn = iter(range(10**6))

    def answer(request: httpx.Request) -> httpx.Response:
        # Nothing ever goes anywhere else, whatever a Location says.
        assert request.url.host == "acme.example" or str(request.url) == token_url
        status, fields, (content, encoding) = given_replies[next(turn) % len(given_replies)]
        if encoding:
            fields = {**fields, b"Content-Encoding": encoding}
        return httpx.Response(status, headers=list(fields.items()), stream=Stream(content))

    async def run() -> Any:
        wire = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=wire) as http:
            transport = Transport(settings.base_url, wire, 5, authorization(settings, http))
            client = ScimClient(transport, SingleRequests(transport))
            target = ScimTarget(settings, http, client, QuirksInMemory(), Discovery(transport))
            with contextlib.suppress(ProvisioningError):
                return await ASKS[ask](target)

    found = asyncio.run(run())
    for account in found if isinstance(found, list) else [found]:
        if isinstance(account, RemoteUser):
            # Goes into Redis, into URLs and headers.
            f"{account.scim_id}{account.version}{account.external_id}{account.active}".encode()


def test_a_bomb_is_refused_before_it_goes_off():
    """256 MB of zeros in 256 KB: counted while it is decompressed, and held nowhere."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()

    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(bomb), 16_384):
                yield bomb[start : start + 16_384]

    async def run() -> None:
        transport = httpx.MockTransport(
            lambda request: httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Pieces())
        )
        async with (
            httpx.AsyncClient(transport=transport) as http,
            http.stream("GET", "https://acme.example") as response,
        ):
            with pytest.raises(UnusableAnswer, match="larger"):
                await read_bounded(response.stream, response.headers, 1_000_000)

    tracemalloc.start()
    try:
        asyncio.run(run())
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()

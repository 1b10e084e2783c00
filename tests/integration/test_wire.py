"""What a request is on the wire, at a server whose connections break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scim.errors import NoAnswer, UnusableAnswer
from scim.transport import Transport
from scim.wire import Wire

GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/scim+json\r\nContent-Length: 2\r\n\r\n{}"


class Token:
    async def header(self) -> str:
        return "Bearer token"

    def refused(self, header: str) -> bool:
        return False


class Breaking:
    """Answers the first request of all, and breaks the connection at every other. seen: method of each."""

    def __init__(self, good: bytes = GOOD) -> None:
        self.seen: list[str] = []
        self.port = 0
        self.good = good

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await self._head(reader):
            self.seen.append(head.split(b" ")[0].decode())
            if len(self.seen) > 1:
                break
            writer.write(self.good)
        writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


@asynccontextmanager
async def asking(server: Breaking) -> AsyncIterator[Transport]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    wire = Wire(4)
    try:
        yield Transport(f"http://127.0.0.1:{server.port}", wire, 5, Token())
    finally:
        await wire.aclose()
        listening.close()


@pytest.mark.parametrize("kept", [True, False], ids=["connection kept", "connection new"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_write_whose_connection_breaks_is_sent_once(method, kept):
    """The first may be carried out after the second, and after what followed it."""
    server = Breaking(GOOD if kept else GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    async def ask() -> None:
        async with asking(server) as transport:
            await transport.request("GET", "/Users")
            with pytest.raises(NoAnswer):
                await transport.request(method, "/Users/1", body=None if method == "DELETE" else {})

    asyncio.run(ask())
    assert server.seen == ["GET", method]


@pytest.mark.parametrize("user", ["u:canary", "canary"])
def test_a_redirect_to_a_url_with_a_user_in_it_is_refused(user):
    server = Breaking()

    async def ask() -> str:
        async with asking(server) as transport:
            server.good = (
                f"HTTP/1.1 307 T\r\nLocation: //{user}@127.0.0.1:{server.port}/x\r\nContent-Length: 0\r\n\r\n"
            ).encode()
            with pytest.raises(UnusableAnswer) as refused:
                await transport.request("GET", "/Users")
            return str(refused.value)

    said = asyncio.run(ask())
    assert "or user" in said
    assert "canary" not in said
    assert server.seen == ["GET"]


def test_a_body_after_a_204_is_an_answer_that_says_nothing():
    """Whether the write was carried out has to be looked up."""
    server = Breaking(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}")

    async def ask() -> str:
        async with asking(server) as transport:
            with pytest.raises(UnusableAnswer) as unusable:
                await transport.request("PATCH", "/Users/1", body={})
            return str(unusable.value)

    assert "204" in asyncio.run(ask())

"""A SCIM endpoint made for measuring: it answers at once, or as slowly as it is told, and counts what it was asked.

python -m bench.endpoint [--latency SECONDS] [--at-once N] [--per-second N] [--bulk OPERATIONS]

It keeps accounts by id and userName, so that what was made is found, and when each was last written (/seen?userName=). Nothing else of SCIM is in it: a real server, which
tests use, costs more than what is measured here. Prints its port, then answers until it is told to end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import uvloop

BURST_SECONDS = 0.25
LIST = b'{"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "totalResults": %d, "Resources": [%s]}'
# As a real one says it: userName is unique.
SCHEMAS = json.dumps(
    {
        "totalResults": 1,
        "Resources": [
            {
                "id": "urn:ietf:params:scim:schemas:core:2.0:User",
                "attributes": [{"name": "userName", "type": "string", "uniqueness": "server"}],
            }
        ],
    }
).encode()


@dataclass
class Manners:
    """latency: seconds each request takes. at_once: requests it works on well at a time; beyond, each takes longer in
    proportion, and then some. per_second: a token bucket, answered 429 when empty. bulk: most operations, 0 without.
    """

    latency: float = 0.0
    at_once: int = 0
    per_second: float = 0.0
    bulk: int = 0


@dataclass
class Endpoint:
    manners: Manners
    accounts: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    written_at: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    tokens: float = 0.0
    filled_at: float = field(default_factory=time.monotonic)
    first_at: float = 0.0
    last_at: float = 0.0

    # -- what it answers -----------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, further header lines, body."""
        path, _, query = target.partition("?")
        if path == "/stats":
            return 200, b"", json.dumps(self.stats()).encode()
        if path == "/reset":
            self.counts.clear()
            self.first_at = self.last_at = 0.0
            return 200, b"", b"{}"
        if path == "/seen":
            scim_id = self.names.get(parse_qs(query)["userName"][0], "")
            return 200, b"", json.dumps({"at": self.written_at.get(scim_id, 0.0)}).encode()
        now = time.monotonic()
        self.first_at = self.first_at or now
        self.last_at = now
        self.counts[f"{method} {path.split('/')[1]}"] += 1
        if self.manners.per_second and (wait := self._empty(now)):
            self.counts["429"] += 1
            return 429, b"Retry-After: %d\r\n" % max(1, round(wait)), b"{}"
        return self._resource(method, path, query, body)

    def _resource(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes, bytes]:
        match method:
            case "POST" if path == "/Bulk":
                return self._bulk(body)
            case "POST":
                return self._made(body)
            case "GET" if path == "/ServiceProviderConfig":
                return 200, b"", json.dumps(self._config()).encode()
            case "GET" if path == "/Schemas":
                return 200, b"", SCHEMAS
            case "GET" if path == "/Users":
                return self._listed(parse_qs(query))
            case "GET" if path.startswith("/Users/"):
                known = self.accounts.get(unquote(path[7:]))
                return (200, b"", known) if known else (404, b"", b"{}")
            case "PATCH" | "DELETE":
                self.written_at[unquote(path[7:])] = time.time()
                return 204, b"", b""
        return 404, b"", b"{}"

    def _made(self, body: bytes) -> tuple[int, bytes, bytes]:
        name = _text(body, b'"userName"')
        if name in self.names:
            return 409, b"", b'{"scimType": "uniqueness", "status": "409"}'
        scim_id = str(len(self.accounts) + 1)
        self.names[name] = scim_id
        self.written_at[scim_id] = time.time()
        self.accounts[scim_id] = made = b'{"id": "%s", %s' % (scim_id.encode(), body.lstrip()[1:])
        return 201, b"", made

    def _bulk(self, body: bytes) -> tuple[int, bytes, bytes]:
        operations = json.loads(body)["Operations"]
        if len(operations) > self.manners.bulk:
            return 413, b"", b"{}"
        answers = []
        for each in operations:
            self.counts["operations"] += 1
            answer: dict[str, Any] = {"method": each["method"], "bulkId": each.get("bulkId")}
            if each["method"] == "POST":
                status, _, made = self._made(json.dumps(each["data"]).encode())
                made_id = _text(made, b'"id"') if status == 201 else ""
                answer |= {"status": str(status), "location": f"/Users/{made_id}"}
            else:
                answer |= {"status": "204", "location": each["path"]}
            answers.append(answer)
        urn = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
        return 200, b"", json.dumps({"schemas": [urn], "Operations": answers}).encode()

    def _listed(self, query: dict[str, list[str]]) -> tuple[int, bytes, bytes]:
        if "filter" in query:
            attribute, _, value = query["filter"][0].split(" ", 2)
            known = (
                self.accounts.get(self.names.get(json.loads(value), "")) if attribute == "userName" else None
            )
            found, total = [known] if known else [], int(known is not None)
        else:
            start, count = int(query.get("startIndex", ["1"])[0]), int(query.get("count", ["100"])[0])
            found = [self.accounts[str(n)] for n in range(start, min(start + count, len(self.accounts) + 1))]
            total = len(self.accounts)
        return 200, b"", LIST % (total, b",".join(found))

    def _config(self) -> dict[str, Any]:
        bulk = {
            "supported": self.manners.bulk > 0,
            "maxOperations": self.manners.bulk,
            "maxPayloadSize": 1 << 20,
        }
        on, off = {"supported": True}, {"supported": False}
        return {"patch": on, "filter": {**on, "maxResults": 1000}, "etag": off, "sort": off, "bulk": bulk}

    def stats(self) -> dict[str, Any]:
        return {**self.counts, "accounts": len(self.accounts), "seconds": self.last_at - self.first_at}

    # -- how long it takes ---------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """How long the request that just came takes, with those under way."""
        over = self.under_way / self.manners.at_once if self.manners.at_once else 1.0
        # Beyond what it can do at once, work waits; and the more waits, the more is lost to switching.
        return self.manners.latency * (over * (1 + 0.2 * (over - 1)) if over > 1 else 1.0)

    def _empty(self, now: float) -> float:
        """Seconds until there is a token; 0 when there was one, which is taken."""
        rate = self.manners.per_second
        self.tokens = min(rate * BURST_SECONDS, self.tokens + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


def _text(body: bytes, name: bytes) -> str:
    """The text that follows a name, with or without a space between."""
    start = body.index(b'"', body.index(name) + len(name)) + 1
    return body[start : body.index(b'"', start)].decode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as it is needed: one request after the other, Content-Length, keep-alive."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self._respond(method, target, body)

    def _respond(self, method: str, target: str, body: bytes) -> None:
        if not self._endpoint.manners.latency:
            self._send(self._endpoint.answer(method, target, body))
            return
        self._endpoint.under_way += 1
        loop = asyncio.get_running_loop()
        loop.call_later(self._endpoint.seconds(), self._later, method, target, body)

    def _later(self, method: str, target: str, body: bytes) -> None:
        self._endpoint.under_way -= 1
        self._send(self._endpoint.answer(method, target, body))

    def _send(self, answer: tuple[int, bytes, bytes]) -> None:
        status, headers, body = answer
        kind = b"Content-Type: application/scim+json\r\n" if body else b""
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s%s\r\n" % (status, len(body), kind, headers)
        self._transport.write(head + body)


async def serve(manners: Manners) -> None:
    endpoint = Endpoint(manners)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(endpoint), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # whoever started it reads it
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--at-once", type=int, default=0)
    parser.add_argument("--per-second", type=float, default=0.0)
    parser.add_argument("--bulk", type=int, default=0)
    uvloop.run(serve(Manners(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()

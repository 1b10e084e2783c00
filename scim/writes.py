"""How a write reaches the target: in a request of its own, or in a Bulk request with others (scim.bulk)."""

from __future__ import annotations

from typing import Any, Protocol

from scim.transport import Answer, Transport


class Writes(Protocol):
    async def write(self, method: str, path: str, body: Any = None, version: str | None = None) -> Answer:
        """path: below the base URL, escaped. version: for If-Match. The answer to this write, whatever its status. Raises
        what Transport.request raises, and LeaseLostError.
        """

    async def close(self) -> None: ...


class SingleRequests:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def write(self, method: str, path: str, body: Any = None, version: str | None = None) -> Answer:
        headers = {"If-Match": version} if version else {}
        return await self._transport.request(method, path, body=body, headers=headers)

    async def close(self) -> None: ...

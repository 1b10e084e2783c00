"""A service provider as reconcile wants it: provisioning.ports.Target over the client, with the target's manners.

What is learned of a target (it cannot PATCH, a filter lies) is kept as quirks, so that it is learned once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import httpx

from config.settings import TargetSettings
from provisioning.diff import merge, shows
from provisioning.errors import Transient
from provisioning.inflate import ACCEPTED
from provisioning.model import Changes, Desired, RemotePage, RemoteUser
from provisioning.schema import UserSchemas
from scim.authorization import authorization
from scim.bulk import Bulk
from scim.bulk_limits import BulkLimits
from scim.client import ScimClient
from scim.consequences import Consequences
from scim.discovery import Discovery, Features, read_schemas
from scim.errors import (
    BadRequest,
    NotSupported,
    NotThere,
    StatusError,
    Unconfirmed,
    UnusableAnswer,
    VersionMismatch,
)
from scim.look_ups import LookUps
from scim.patch import concerns_elements, patch_body
from scim.probing import probe
from scim.quirks import NO_PATCH, QuirksInMemory, QuirkStore, put_path
from scim.searching import Searching
from scim.transport import Limiter, Transport
from scim.wire import Wire, timeouts
from scim.writes import SingleRequests, Writes

# A PATCH path that one server refuses with these may still be set by PUT.
_PATH_REFUSED = {"invalidPath", "noTarget", "invalidFilter", None}
# Of an account, with a version or without.
Write = Callable[[str | None], Awaitable[RemoteUser | None]]


class ScimTarget:
    """provisioning.ports.Target. look_ups: what is known of who is there."""

    def __init__(
        self,
        settings: TargetSettings,
        http: httpx.AsyncClient,
        client: ScimClient,
        quirks: QuirkStore,
        discovery: Discovery,
    ) -> None:
        self._settings = settings
        self._http = http
        self._client = client
        self._quirks = quirks
        self._discovery = discovery
        self.look_ups = LookUps(client, discovery, settings.matching)
        self._searching = Searching(client, quirks, discovery)
        # Paths that PATCH has set: not to blame when it refuses several at once.
        self._patched: set[str] = set()

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._client.transport.requests

    async def close(self) -> None:
        await self._client.writes.close()
        await self._http.aclose()

    # -- reading ---------------------------------------------------------------------------------------------

    async def find(self, attribute: str, value: str, *, certain: bool = False) -> Sequence[RemoteUser]:
        return await self._searching.find(attribute, value, certain=certain)

    async def find_in_listing(self, attribute: str, value: str) -> Sequence[RemoteUser]:
        return await self._searching.find_in_listing(attribute, value)

    def listing(self) -> AsyncIterator[RemotePage]:
        return self._searching.listing()

    async def search(self, text: str, limit: int = 50) -> Sequence[RemoteUser]:
        """For people: accounts whose id, externalId, userName, displayName or e-mail address contains the text."""
        return await self._searching.by_text(text, limit)

    async def needs_look_up(self, attribute: str, value: str, *, creating: bool) -> bool:
        return await self.look_ups.needed(attribute, value, creating=creating)

    async def get(self, scim_id: str) -> RemoteUser:
        with Consequences():
            return await self._client.get(scim_id)

    # -- writing ---------------------------------------------------------------------------------------------

    async def create(self, resource: Mapping[str, Any]) -> RemoteUser:
        with Consequences(writing=True):
            try:
                return await self._client.create(resource)
            except NotThere as error:
                # No target at this address (raises Outage then), or something that this user refers to.
                await self.probe()
                raise Transient(str(error), status_code=error.status) from None

    async def update(
        self, scim_id: str, changes: Changes, desired: Desired | None, version: str | None
    ) -> RemoteUser | None:
        known = version if (await self.features()).etag else None
        method = await self._method(changes)
        with Consequences(writing=True):
            try:
                if method == "put":
                    return await self._put(scim_id, changes)
                return await self._patch_or_put(scim_id, changes, desired, known)
            except Unconfirmed:
                account = await self._client.get(scim_id)
                if not shows(account.resource, changes):
                    raise
                return account

    async def _patch_or_put(
        self, scim_id: str, changes: Changes, desired: Desired | None, known: str | None
    ) -> RemoteUser | None:
        there = None
        if concerns_elements(changes, desired):
            there = (await self._client.get(scim_id)).resource
        try:
            answer = await self._patch(scim_id, patch_body(changes, desired, there), known)
        except (NotSupported, NotThere, BadRequest) as error:
            if self._settings.update_method != "patch" and _put_may_help(error):
                return await self._put_instead(scim_id, changes, error)
            if isinstance(error, NotThere):
                raise _refused_as_not_there(error) from None
            raise
        self._patched.update(changes.names)
        return answer

    async def _method(self, changes: Changes) -> str:
        if self._settings.update_method != "auto":
            return self._settings.update_method
        if (await self.features()).patch is False:
            return "put"
        quirks = await self._quirks.items()
        return (
            "put"
            if NO_PATCH in quirks or any(put_path(name) in quirks for name in changes.names)
            else "patch"
        )

    async def _patch(self, scim_id: str, body: Mapping[str, Any], known: str | None) -> RemoteUser | None:
        patch = partial(self._client.patch, scim_id, body)
        try:
            return await self._versioned(scim_id, patch, known)
        except NotThere:
            # The account, the method, or by chance? Reading it tells (raises Missing), and asking once more.
            await self.get(scim_id)
            return await patch(known)

    async def _versioned(self, scim_id: str, write: Write, known: str | None) -> RemoteUser | None:
        try:
            return await write(known)
        except VersionMismatch:
            # Whoever refuses the version that the account has at that moment refuses every one: then it goes without.
            if (await self._client.get(scim_id)).version != known:
                raise
            return await write(None)

    async def _put_instead(self, scim_id: str, changes: Changes, refusal: StatusError) -> RemoteUser | None:
        """PATCH was refused: GET, merge, PUT; and remember it, if that worked."""
        answer = await self._put(scim_id, changes)
        # 501 for one path of several is said the same way as for PATCH altogether: one path at a time is learned.
        whole = isinstance(refusal, NotThere) or (isinstance(refusal, NotSupported) and refusal.status == 405)
        to_blame = [name for name in changes.names if name not in self._patched] or changes.names
        await self._quirks.add(*((NO_PATCH,) if whole else map(put_path, to_blame)))
        return answer

    async def _put(self, scim_id: str, changes: Changes) -> RemoteUser | None:
        """What is sent is made from what was read a moment ago; its version sees to it that nothing came between."""
        account = await self._client.get(scim_id)
        if account.scim_id.casefold() != scim_id.casefold():
            # Another user's account must never be written here.
            raise UnusableAnswer("the target answered a read with another user than the one asked for")
        version = account.version if (await self.features()).etag else None
        put = partial(self._client.replace, scim_id, merge(account.resource, changes))
        try:
            return await self._versioned(scim_id, put, version)
        except NotThere as error:
            raise _refused_as_not_there(error) from None

    async def delete(self, scim_id: str) -> None:
        with Consequences(writing=True):
            await self._client.delete(scim_id)

    # -- the target as a whole -------------------------------------------------------------------------------

    async def features(self) -> Features:
        with Consequences():
            return await self._discovery.features()

    async def schemas(self) -> UserSchemas:
        with Consequences():
            return await read_schemas(self._client.transport)

    async def probe(self) -> None:
        """Raises Outage (or Unauthorized, Throttled, Transient) while the target does not work for us."""
        await probe(self._client)


def _refused_as_not_there(error: NotThere) -> Transient:
    """404 to a write, of an account that was read a moment ago: whoever took it to be gone would make a second one."""
    return Transient(f"{error}, and showed the account a moment before", status_code=error.status)


def _put_may_help(error: StatusError) -> bool:
    return not isinstance(error, BadRequest) or error.scim_type in _PATH_REFUSED


def open_target(
    settings: TargetSettings, *, quirks: QuirkStore | None = None, limiter: Limiter | None = None
) -> ScimTarget:
    """Builds a target; nothing is sent yet."""
    wire, seconds = Wire(settings.limits.concurrency, settings.ca_file), settings.limits.timeout_seconds
    http = httpx.AsyncClient(
        transport=wire, timeout=timeouts(seconds), headers={"Accept-Encoding": ACCEPTED}, trust_env=False
    )
    transport = Transport(settings.base_url, wire, seconds, authorization(settings, http), limiter)
    discovery, quirks = Discovery(transport), quirks or QuirksInMemory()
    writes: Writes = SingleRequests(transport)
    if settings.bulk == "auto":
        writes = Bulk(transport, BulkLimits(discovery, quirks, settings.limits.timeout_seconds))
    return ScimTarget(settings, http, ScimClient(transport, writes), quirks, discovery)

"""What the target says of itself (RFC 7644 4), read tolerantly; the RFC's defaults where it says nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from provisioning.paths import CORE_USER
from provisioning.schema import UserSchemas, read_schema, rfc_schemas
from scim.errors import NoAnswer, ScimError, UnusableAnswer, status_error
from scim.transport import Answer, Transport

ANNOUNCED_SECONDS = 3600.0
UNANNOUNCED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Features:
    """ServiceProviderConfig. None: the target does not say. announced: False when there was none to read. max_operations,
    max_payload_bytes: of one Bulk request.
    """

    announced: bool = False
    patch: bool | None = None
    filter: bool | None = None
    etag: bool | None = None
    bulk: bool = False
    cursor: bool = False
    max_results: int | None = None
    max_operations: int | None = None
    max_payload_bytes: int | None = None

    @property
    def summary(self) -> str:
        if not self.announced:
            return "no ServiceProviderConfig; features are found out by trying"
        words = [name for name in ("patch", "filter", "etag", "bulk", "cursor") if getattr(self, name)]
        words = [self._bulk if name == "bulk" else name for name in words]
        return "announces " + (", ".join(words) or "none of patch, filter, etag, bulk, cursor")

    @property
    def _bulk(self) -> str:
        limits = ((self.max_operations, "operations"), (self.max_payload_bytes, "bytes"))
        told = [f"{most:,} {name}" for most, name in limits if most]
        return f"bulk (at most {' and '.join(told)})" if told else "bulk (no limits told)"


class Discovery:
    """What a target says of itself, read when first needed and kept for an hour; where it said nothing, which may have been
    a passing fault, for a minute.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._features: Features | None = None
        self._until = 0.0
        self._reading = asyncio.Lock()
        self._unique: frozenset[str] = frozenset()
        self._unique_until = float("-inf")
        self._reading_schemas = asyncio.Lock()

    async def features(self) -> Features:
        """Raises what concerns the target as a whole, as read_features."""
        if self._features is None or time.monotonic() >= self._until:
            async with self._reading:
                if self._features is None or time.monotonic() >= self._until:
                    told = await self._told()
                    self._features = told if told.announced else self._features or told
                    known_seconds = ANNOUNCED_SECONDS if told.announced else UNANNOUNCED_SECONDS
                    self._until = time.monotonic() + known_seconds
        return self._features

    async def _told(self) -> Features:
        # What is asked next meets the same trouble, if it is the target's; else this address alone is unwell.
        with suppress(NoAnswer, UnusableAnswer):
            return await read_features(self._transport)
        return Features()

    async def refuses_doubles(self, attribute: str) -> bool:
        """Whether the target's own schema says that a value can be there only once (RFC 7643 7, uniqueness)."""
        if time.monotonic() >= self._unique_until:
            async with self._reading_schemas:
                if time.monotonic() >= self._unique_until:
                    await self._read_unique()
        return attribute.lower() in self._unique

    async def _read_unique(self) -> None:
        schemas = None
        with suppress(ScimError):
            schemas = await read_schemas(self._transport)
        told = schemas is not None and schemas.from_target
        attributes = schemas.attributes() if schemas is not None and told else ()
        self._unique = frozenset(path.lower() for path, definition in attributes if definition.unique)
        self._unique_until = time.monotonic() + (ANNOUNCED_SECONDS if told else UNANNOUNCED_SECONDS)


async def read_features(transport: Transport) -> Features:
    """Raises what concerns the target as a whole: NotConnected, CredentialMissing, a busy target."""
    answer = await transport.request("GET", "/ServiceProviderConfig")
    body = _usable(answer)
    if body is None:
        return Features()

    def supported(name: str) -> bool | None:
        feature = body.get(name)
        return feature.get("supported") is True if isinstance(feature, Mapping) else None

    pagination = body.get("pagination")
    limits = (_limit(body.get("filter"), "maxResults"), _limit(pagination, "maxPageSize"))
    return Features(
        announced=True,
        patch=supported("patch"),
        filter=supported("filter"),
        etag=supported("etag"),
        bulk=supported("bulk") is True,
        cursor=isinstance(pagination, Mapping) and pagination.get("cursor") is True,
        max_results=min((limit for limit in limits if limit is not None), default=None),
        max_operations=_limit(body.get("bulk"), "maxOperations"),
        max_payload_bytes=_limit(body.get("bulk"), "maxPayloadSize"),
    )


def _limit(feature: Any, name: str) -> int | None:
    value = feature.get(name) if isinstance(feature, Mapping) else None
    return value if isinstance(value, int) and value > 0 else None


async def read_schemas(transport: Transport) -> UserSchemas:
    """The schemas of a User: the target's when it shows them, else the RFC's."""
    answer, wanted = await asyncio.gather(transport.request("GET", "/Schemas"), _user_schemas(transport))
    body = _usable(answer)
    schemas = {
        str(schema["id"]): read_schema(schema)
        for schema in _objects(body.get("Resources") if body else None)
        if schema.get("id") and _objects(schema.get("attributes"))
    }
    if not any(urn.lower() == CORE_USER.lower() for urn in schemas):
        # Loading them takes half a second the first time, in which leases are kept and others are worked on.
        return await asyncio.to_thread(rfc_schemas)
    if wanted:
        schemas = {urn: attributes for urn, attributes in schemas.items() if urn.lower() in wanted}
    else:
        schemas = {urn: attributes for urn, attributes in schemas.items() if _of_users(urn)}
    return UserSchemas(schemas, from_target=True)


async def _user_schemas(transport: Transport) -> frozenset[str]:
    """URNs (lower case) of the User resource type: its schema and extensions. Empty when not told."""
    body = _usable(await transport.request("GET", "/ResourceTypes"))
    for kind in _objects(body.get("Resources") if body else None):
        if str(kind.get("endpoint", "")).strip("/").lower() == "users":
            extensions = _objects(kind.get("schemaExtensions"))
            urns = [kind.get("schema"), *(each.get("schema") for each in extensions)]
            return frozenset(str(urn).lower() for urn in urns if urn) | {CORE_USER.lower()}
    return frozenset()


def _of_users(urn: str) -> bool:
    lowered = urn.lower()
    return lowered == CORE_USER.lower() or ":extension:" in lowered


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """The JSON objects of a list; nothing where there is no list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _usable(answer: Answer) -> Mapping[str, Any] | None:
    # Not for 401, which may be said of this alone: whether the token is good the request that follows tells.
    if answer.status in {429, 503}:
        raise status_error(answer.status, answer.headers, answer.body)
    return answer.body if answer.status == 200 and isinstance(answer.body, Mapping) else None

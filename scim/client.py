"""The verbs of SCIM on /Users (RFC 7644 3.3 to 3.6): plain JSON, errors of scim.errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from provisioning.model import RemoteUser
from scim.errors import (
    BadRequest,
    NotSupported,
    NotThere,
    StatusError,
    Unconfirmed,
    UnusableAnswer,
    is_scim_error,
    status_error,
)
from scim.filters import NOBODY, equals, resource_path
from scim.listing import LARGE_PAGE, PAGE, PageSize, accounts_of, pages, read_account
from scim.transport import Answer, Transport
from scim.writes import Writes

# More than one match is already one too many; a few more make the message right.
MATCHES = 10
_STILL_ACTIVE = "still shows the account after a delete"
_INACTIVE = (
    "keeps the account after a delete, inactive: if that is how it deletes, let leavers say the same, as "
    'deleted = "deactivate"'
)
_NOT_SCIM = "what answers is not a SCIM server; is base_url the SCIM base URL?"


class ScimClient:
    """Requests to one service provider. writes: how those that change an account get there."""

    def __init__(self, transport: Transport, writes: Writes) -> None:
        self.transport = transport
        self.writes = writes
        # Whether /Users is there: a base_url that leads elsewhere on a SCIM server says 404 of everything, in SCIM's words.
        self._seen = False
        # Of whole accounts fewer may be what the target can answer.
        self._whole, self._parts = PageSize(), PageSize()

    async def query(self, condition: str, count: int = MATCHES) -> list[RemoteUser]:
        """Accounts for a filter. No match is an empty list, also where the target lists nothing, or says 404 in SCIM's words
        and has shown its /Users before; else 404 raises NotThere.
        """
        answer = await self.transport.request("GET", "/Users", params={"filter": condition, "count": count})
        if answer.status == 404 and self._seen and is_scim_error(answer.body):
            return []
        _raise_for(answer)
        self._seen = True
        if not isinstance(answer.body, Mapping):
            raise UnusableAnswer("the target answered a search with something that is not SCIM")
        return accounts_of(answer)

    async def get(self, scim_id: str) -> RemoteUser:
        answer = await self.transport.request("GET", resource_path(scim_id))
        _raise_for(answer)
        account = read_account(answer.body, answer.headers.get("etag"))
        if account is None:
            raise UnusableAnswer("the target answered a read with something that is not a user")
        return account

    async def create(self, resource: Mapping[str, Any]) -> RemoteUser:
        """201, or 200 as some say. An answer that does not name the new account is as good as lost."""
        answer = await self.writes.write("POST", "/Users", resource)
        _raise_for_status(answer, creating=True)
        version = answer.headers.get("etag")
        account = read_account(answer.body, version) or read_account(_located(answer), version)
        if account is None:
            raise Unconfirmed(
                "the target answered a create without saying which account it made", answer.status
            )
        return account

    async def replace(
        self, scim_id: str, resource: Mapping[str, Any], version: str | None
    ) -> RemoteUser | None:
        return await self._write("PUT", scim_id, resource, version)

    async def patch(self, scim_id: str, body: Mapping[str, Any], version: str | None) -> RemoteUser | None:
        """200 with the account, or 204 without (RFC 7644 3.5.2)."""
        return await self._write("PATCH", scim_id, body, version)

    async def delete(self, scim_id: str) -> None:
        """404 is success: the account is not there. Whoever does not say 204 is asked for the account; and of 404 to that,
        whether it means anything.
        """
        answer = await self.writes.write("DELETE", resource_path(scim_id))
        with suppress(NotThere):
            _raise_for(answer)
        if answer.status == 204:
            return
        with suppress(NotThere):
            account = await self.get(scim_id)
            words = _STILL_ACTIVE if account.active else _INACTIVE
            raise Unconfirmed(f"the target answered {answer.status}, but {words}", answer.status)
        await self.probe()

    async def probe(self) -> None:
        """One small page of users: shows address, credential and right to read. So does a search, where a page without one is
        refused. Where that is, too, or 404 may just say that there is nobody, ServiceProviderConfig shows that this is SCIM;
        words alone do not: they are said of a base_url that leads elsewhere on a SCIM server as well.
        """
        with suppress(NotThere):
            for question in ({}, {"filter": equals("userName", NOBODY)}):
                with suppress(BadRequest, NotSupported):
                    await self._shows("/Users", {**question, "count": 1})
                    self._seen = True
                    return
        await self._shows("/ServiceProviderConfig")

    async def _shows(self, path: str, params: Mapping[str, Any] | None = None) -> None:
        answer = await self.transport.request("GET", path, params=params)
        _raise_for(answer)
        if not isinstance(answer.body, Mapping):
            raise UnusableAnswer(_NOT_SCIM)

    def listing(
        self,
        *,
        cursors: bool,
        most: int | None = None,
        attributes: Sequence[str] = (),
        most_pages: int | None = None,
    ) -> AsyncIterator[list[RemoteUser]]:
        """most: accounts a page, as the target announces it, or fewer. attributes: all that is wanted of each (RFC 7644 3.9);
        none: whole accounts. most_pages: a longer listing raises ListingTooLong.
        """
        largest, size = (LARGE_PAGE, self._parts) if attributes else (PAGE, self._whole)
        count = min(largest, most or largest)
        return pages(
            self.transport,
            cursors=cursors,
            count=count,
            size=size,
            attributes=attributes,
            most_pages=most_pages,
        )

    async def _write(
        self, method: str, scim_id: str, body: Mapping[str, Any], version: str | None
    ) -> RemoteUser | None:
        # A version that was read from a body may hold anything.
        sendable = version if version and version.isascii() and version.isprintable() else None
        answer = await self.writes.write(method, resource_path(scim_id), body, sendable)
        _raise_for(answer, versioned=sendable is not None)
        account = read_account(answer.body, answer.headers.get("etag"))
        if account is None and answer.status != 204:
            # Something in between may have said so: the account is read before it is believed.
            told = f"the target answered {answer.status} to a {method} without the account"
            raise Unconfirmed(told, answer.status)
        return account


def _located(answer: Answer) -> Mapping[str, str]:
    """What Location says of a new account: .../Users/{id}."""
    try:
        path = urlsplit(answer.headers.get("location", "")).path
    except ValueError:
        return {}
    collection, slash, last = path.rstrip("/").rpartition("/")
    return {"id": unquote(last)} if slash and collection.lower().endswith("/users") else {}


def _raise_for(answer: Answer, *, versioned: bool = False) -> None:
    """An answer that is no success; one that comes from something else than a SCIM server is none either."""
    _raise_for_status(answer, versioned=versioned)
    if answer.foreign:
        raise UnusableAnswer(_NOT_SCIM)


def _raise_for_status(answer: Answer, *, creating: bool = False, versioned: bool = False) -> None:
    if answer.status >= 400:
        error: StatusError = status_error(
            answer.status, answer.headers, answer.body, creating=creating, versioned=versioned
        )
        raise error
    if answer.status >= 300:
        raise UnusableAnswer(f"the target answered {answer.status}, which is no answer to this request")

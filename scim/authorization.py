"""The Authorization header: a bearer token (RFC 6750), or OAuth2 client credentials (RFC 6749 4.4)."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

import httpx

from config.settings import OAuth2Settings, Secret, SecretUnavailableError, TargetSettings
from scim.errors import CredentialMissing, NotConnected, UnusableAnswer
from scim.network import RAISED, read_bounded

# A token that was put right in its file works after this long; at once after a 401.
FRESH_SECONDS = 1.0
# A token is renewed this long before it ends, so that none ends on its way.
EARLY_SECONDS = 30.0
DEFAULT_LIFETIME_SECONDS = 300.0
LARGEST_BODY = 1024 * 1024
# A read timeout starts anew with every byte.
LONGEST_SECONDS = 60.0


class Authorization(Protocol):
    async def header(self) -> str:
        """Raises CredentialMissing, NotConnected."""

    def refused(self, header: str) -> bool:
        """401 was answered to this header. True when another try, with a new one, makes sense. Raises CredentialMissing."""


class BearerToken:
    """Read again and again: a token put right in its file works without a restart."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._header = ""
        self._fresh_until = float("-inf")

    async def header(self) -> str:
        if time.monotonic() >= self._fresh_until:
            self._renew()
        return self._header

    def _renew(self) -> None:
        """What cannot be read is not taken from before."""
        self._fresh_until = float("-inf")
        self._header = self._read()
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def _read(self) -> str:
        token = reveal(self._secret, "token")
        if token.lower().startswith("bearer "):
            # Some consoles show the whole header; 401 would send people back to copy it once more.
            raise CredentialMissing(
                'token begins with "Bearer ", which is put there anyway: take that word out'
            )
        return f"Bearer {token}"

    def refused(self, header: str) -> bool:
        # Another one may be in the file by now.
        self._renew()
        return self._header != header


class ClientCredentials:
    """Asks for an access token once, keeps it until shortly before it ends, and asks anew after a 401."""

    def __init__(self, settings: OAuth2Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._token = ""
        self._ends_at = float("-inf")
        self._lock = asyncio.Lock()

    async def header(self) -> str:
        async with self._lock:
            if time.monotonic() >= self._ends_at:
                await self._ask()
        return f"Bearer {self._token}"

    def refused(self, header: str) -> bool:
        # Of many requests under way with one token, the first that is refused throws it away; the others find a
        # newer one.
        if header == f"Bearer {self._token}":
            self._ends_at = float("-inf")
        return True

    async def _ask(self) -> None:
        form = {"grant_type": "client_credentials"}
        if self._settings.scope:
            form["scope"] = self._settings.scope
        client_id = self._settings.client_id
        secret = reveal(self._settings.client_secret, "oauth2.client_secret")
        status, raw = await self._post({**form, "client_id": client_id, "client_secret": secret})
        if status in {400, 401}:
            # The way that every server has to have, though fewer clients use it (RFC 6749 2.3.1).
            basic = httpx.BasicAuth(quote(client_id, safe=""), quote(secret, safe=""))
            status, raw = await self._post(form, basic)
        if status == 429 or status >= 500:
            raise NotConnected(f"oauth2.token_url answered {status}; its server has trouble")
        if status != 200:
            raise CredentialMissing(
                f"oauth2.token_url answered {status}; check client_id, client_secret and scope"
            )
        self._token, lifetime = _access_token(raw)
        self._ends_at = time.monotonic() + max(lifetime - EARLY_SECONDS, lifetime / 2)

    async def _post(self, form: Mapping[str, str], basic: httpx.BasicAuth | None = None) -> tuple[int, bytes]:
        """Status and body. Redirects are not followed: they would carry the secret elsewhere."""
        try:
            request = self._http.build_request("POST", self._settings.token_url, data=form)
            async with asyncio.timeout(LONGEST_SECONDS):
                response = await self._http.send(request, stream=True, auth=basic, follow_redirects=False)
                try:
                    # Not aiter_bytes(), which decompresses without a bound.
                    assert isinstance(response.stream, httpx.AsyncByteStream), "of an AsyncClient"
                    return response.status_code, await read_bounded(
                        response.stream, response.headers, LARGEST_BODY
                    )
                finally:
                    await response.aclose()
        except (*RAISED, httpx.HTTPError, httpx.InvalidURL):
            raise NotConnected(
                "oauth2.token_url cannot be reached; is it right, and the network up?"
            ) from None
        except UnusableAnswer:
            raise CredentialMissing("oauth2.token_url answered with something that cannot be read") from None


def _access_token(raw: bytes) -> tuple[str, float]:
    """(token, seconds it lasts), RFC 6749 5.1."""
    try:
        answer = json.loads(raw)
        token = str(answer["access_token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CredentialMissing("oauth2.token_url answered without an access token") from None
    _sendable("the access token of oauth2.token_url", token)
    try:
        lifetime = float(answer.get("expires_in") or DEFAULT_LIFETIME_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return token, DEFAULT_LIFETIME_SECONDS
    # Not a number is neither more nor less than any time: such a token would never be renewed.
    return token, lifetime if math.isfinite(lifetime) else DEFAULT_LIFETIME_SECONDS


def authorization(settings: TargetSettings, http: httpx.AsyncClient) -> Authorization:
    if settings.oauth2 is not None:
        return ClientCredentials(settings.oauth2, http)
    assert settings.token is not None, "validated by config.loading"
    return BearerToken(settings.token)


def reveal(secret: Secret, key: str) -> str:
    try:
        value = secret.reveal()
    except SecretUnavailableError as error:
        raise CredentialMissing(f"{key}: {error}") from None
    _sendable(key, value)
    return value


def _sendable(key: str, value: str) -> None:
    # A line break would end the header early.
    if not value.isascii() or not value.isprintable():
        raise CredentialMissing(f"{key} holds characters that cannot be sent in a header")

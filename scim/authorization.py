"""The Authorization header: a bearer token (RFC 6750), or OAuth2 client credentials (RFC 6749 4.4)."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import httpx

from config.settings import OAuth2Settings, Secret, SecretUnavailableError, TargetSettings
from scim.errors import CredentialMissing, NotConnected
from scim.network import RAISED

# A token is renewed this long before it ends, so that none ends on its way.
EARLY_SECONDS = 30.0
DEFAULT_LIFETIME_SECONDS = 300.0


class Authorization(Protocol):
    async def header(self) -> str:
        """Raises CredentialMissing, NotConnected."""

    def refused(self, header: str) -> bool:
        """401 was answered to this header. True when another try, with a new one, makes sense."""


class BearerToken:
    """Read at every request: a token put right in its file works at once."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def header(self) -> str:
        return f"Bearer {reveal(self._secret, 'token')}"

    def refused(self, header: str) -> bool:  # noqa: ARG002  # there is no other token to try
        return False


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
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": reveal(self._settings.client_secret, "oauth2.client_secret"),
        }
        if self._settings.scope:
            form["scope"] = self._settings.scope
        try:
            response = await self._http.post(self._settings.token_url, data=form)
        except RAISED:
            raise NotConnected(
                "oauth2.token_url cannot be reached; is it right, and the network up?"
            ) from None
        if response.status_code == 429 or response.status_code >= 500:
            raise NotConnected(f"oauth2.token_url answered {response.status_code}; its server has trouble")
        if response.status_code != 200:
            raise CredentialMissing(
                f"oauth2.token_url answered {response.status_code}; check client_id, client_secret and scope"
            )
        self._token, lifetime = _access_token(response)
        self._ends_at = time.monotonic() + max(lifetime - EARLY_SECONDS, lifetime / 2)


def _access_token(response: httpx.Response) -> tuple[str, float]:
    """(token, seconds it lasts), RFC 6749 5.1."""
    try:
        answer = response.json()
        token = str(answer["access_token"])
    except (ValueError, KeyError, TypeError):
        raise CredentialMissing("oauth2.token_url answered without an access token") from None
    _sendable("the access token of oauth2.token_url", token)
    try:
        return token, float(answer.get("expires_in") or DEFAULT_LIFETIME_SECONDS)
    except (ValueError, TypeError):
        return token, DEFAULT_LIFETIME_SECONDS


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

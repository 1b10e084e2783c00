"""Signed in to a Drupal site: every answer is read as the account we configured, or not at all.

A wrong password, a blocked account or an expired session all answer 200, as the anonymous user (FACTS, Identity).
Only meta.links.me at /jsonapi proves who we are. Refused credentials are never sent a second time: five failures lock
the account out for six hours.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from config.settings import DrupalJsonApiSettings, Secret, SecretUnavailableError
from drupal.errors import (
    IdentityLost,
    NotDrupal,
    SignInRefused,
    Unavailable,
    Unintelligible,
    Unreachable,
)
from drupal.jsonapi_answers import document_of, read_bounded, session_cookie
from provisioning.inflate import ACCEPTED

TIMEOUT_SECONDS = 30.0
# An OAuth2 token is renewed this long before it ends.
EARLY_SECONDS = 30.0
DEFAULT_LIFETIME_SECONDS = 300.0
# A read timeout starts anew with every byte: an answer that trickles in needs an end as well.
LONGEST_SECONDS = 120.0
_LOCKED = (
    "Drupal answered as the anonymous user: the name or password is wrong, the account is blocked, an e-mail address was "
    "given as the name, or five failures have locked the account out for 6 hours; correct drupal.username and "
    "drupal.password, then restart"
)
# Of /user/login, by a site that has none for JSON, or an answer without a session.
_NO_JSON_SIGN_IN = frozenset({200, 401, 404, 405, 406, 410, 415})
_EXPIRED = (
    "Drupal no longer knows who we are, and signing in again did not help; check the account, then restart"
)


class DrupalSession:
    """One account on one site. After its identity was lost every call raises IdentityLost without a request."""

    def __init__(self, settings: DrupalJsonApiSettings) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            # Its own context is never used, and would be made by reading all authorities once more.
            transport=AiohttpTransport(
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client=lambda: _client(settings.ca_file)
            ),
            headers={"Accept-Encoding": ACCEPTED},
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=10.0),
            follow_redirects=False,
            trust_env=False,
        )
        self._headers: dict[str, str] = {}
        self._basic: httpx.BasicAuth | None = None
        self._signed_in = False
        self._ends_at = float("inf")
        self._lost = ""
        self._refused = False
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def verify(self) -> str:
        """The id of the account we are. Raises DrupalError."""
        await self._sign_in()
        used = self._headers
        me = await self._me()
        if me is None and used:
            # A session may simply have ended, or a token have been revoked: one new sign-in, and no more.
            await self._sign_in_after(used)
            me = await self._me()
        if me is None:
            self._lose(_LOCKED)
        return str(me)

    async def get(self, params: Mapping[str, str | int]) -> Mapping[str, Any]:
        """A page of /jsonapi/user/user. Raises DrupalError."""
        await self._sign_in()
        used = self._headers
        response = await self._send("GET", "/jsonapi/user/user", params=params)
        if response.status_code == 401 and self._settings.client_id:
            await self._sign_in_after(used)
            response = await self._send("GET", "/jsonapi/user/user", params=params)
        return document_of(response)

    async def has(self, uuid: str) -> bool:
        """Whether Drupal has this user, asked by its own address: 404 with JSON for an unknown uuid (FACTS, JSON:API)."""
        response = await self._send(
            "GET", f"/jsonapi/user/user/{uuid}", params={"fields[user--user]": "name"}
        )
        if response.status_code == 404 and _is_json(response):
            return False
        document_of(response)
        return True

    async def _me(self) -> str | None:
        response = await self._send("GET", "/jsonapi")
        if response.status_code == 401 and self._settings.client_id:
            return None  # a token that ended before its time
        document = document_of(response)
        try:
            return str(document["meta"]["links"]["me"]["meta"]["id"])
        except (KeyError, TypeError):
            return None

    # -- signing in ------------------------------------------------------------------------------------------

    async def _sign_in(self) -> None:
        async with self._lock:
            # Whoever has waited here while another was refused does not try again.
            if self._lost:
                raise IdentityLost(self._lost)
            if self._signed_in and time.monotonic() < self._ends_at:
                return
            await (self._ask_for_token() if self._settings.client_id else self._open_session())
            self._signed_in = True

    async def _sign_in_after(self, used: Mapping[str, str]) -> None:
        """With `used` we are nobody any more. Others may have found that, too: the first one signs in for all."""
        if self._headers is used:
            self._signed_in = False
        await self._sign_in()

    async def _open_session(self) -> None:
        """One sign-in for a session cookie, which spares Drupal the password hash of every request."""
        name, password = str(self._settings.username), _reveal(self._settings.password, "drupal.password")
        self._headers = {}
        response = await self._send(
            "POST", "/user/login?_format=json", content=json.dumps({"name": name, "pass": password}).encode()
        )
        if response.status_code == 200 and (cookie := session_cookie(response)):
            self._headers = {"Cookie": cookie}
        elif response.status_code == 400 and (_is_json(response) or self._refused):
            self._lose(_LOCKED)
        elif response.status_code == 403:
            # Flood control says so before it looks at the password, and counts no failure; so may whatever stands before the site.
            raise Unavailable(
                "Drupal, or something before it, refuses sign-ins for now (403); if it stays so, look at drupal.username and "
                "drupal.password",
                status_code=403,
            )
        elif response.status_code in _NO_JSON_SIGN_IN or 300 <= response.status_code < 400:
            # Basic on each request.
            self._basic = httpx.BasicAuth(name, password)
        else:
            # Drupal's own words may have been replaced on the way: a second time is once too often.
            self._refused = response.status_code == 400
            document_of(response)

    async def _ask_for_token(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": str(self._settings.client_id),
            "client_secret": _reveal(self._settings.client_secret, "drupal.client_secret"),
        }
        self._headers = {}
        response = await self._send("POST", "/oauth/token", data=form)
        if response.status_code in {400, 401, 403} and _is_oauth_error(response):
            self._lost = "Drupal refuses client_id or client_secret; correct them in [drupal], then restart"
            raise SignInRefused(self._lost, status_code=response.status_code)
        if response.status_code == 404:
            raise NotDrupal(
                "the site has no /oauth/token; install simple_oauth, or use username and password"
            )
        answer = document_of(response)
        if not answer.get("access_token"):
            raise Unintelligible("Drupal's /oauth/token answered without an access token")
        token = str(answer["access_token"])
        if not token.isascii() or not token.isprintable():
            raise Unintelligible("Drupal's /oauth/token answered with a token that no header can carry")
        lifetime = _lifetime(answer.get("expires_in"))
        self._headers = {"Authorization": f"Bearer {token}"}
        self._ends_at = time.monotonic() + max(lifetime - EARLY_SECONDS, lifetime / 2)

    def _lose(self, detail: str) -> None:
        self._lost = detail if not self._headers else _EXPIRED
        raise IdentityLost(self._lost)

    # -- one request -----------------------------------------------------------------------------------------

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {
            "Accept": "application/vnd.api+json, application/json",
            "User-Agent": "scimpipe/0.1",
            **self._headers,
        }
        if "content" in options:
            headers["Content-Type"] = "application/json"
        auth = self._basic if method == "GET" else None
        try:
            request = self._http.build_request(method, self._base + path, headers=headers, **options)
            async with asyncio.timeout(LONGEST_SECONDS):
                response = await self._http.send(request, auth=auth, stream=True)
                try:
                    await read_bounded(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"Drupal at {urlsplit(self._base).netloc} {_what_failed(error)}") from None
        return response


def _what_failed(error: Exception) -> str:
    # httpx-aiohttp calls every connection that failed a ConnectTimeout; what aiohttp raised says which it was.
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else error
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return "has a certificate that is not trusted; is drupal.base_url right, or drupal.ca_file missing?"
    if isinstance(cause, aiohttp.ClientConnectorSSLError):
        return "has no TLS at that port, or none that works from here; are https:// and the port in drupal.base_url right?"
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)):
        return "cannot be reached; is drupal.base_url right, and the network up?"
    return "does not answer, or not in time; is drupal.base_url right, and the site up?"


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")


def _is_oauth_error(response: httpx.Response) -> bool:
    """RFC 6749 5.2; not what a proxy or a firewall before the site says."""
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, Mapping) and isinstance(document.get("error"), str)


def _client(ca_file: Path | None) -> aiohttp.ClientSession:
    try:
        trusted = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    except OSError:  # it was there when the settings were read
        name = "drupal.ca_file" if ca_file else "SSL_CERT_FILE"
        raise Unreachable(f"{name} cannot be read as certificates any more; put it right") from None
    connector = aiohttp.TCPConnector(limit=4, ssl=trusted)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _lifetime(seconds: Any) -> float:
    """Of a token; DEFAULT_LIFETIME_SECONDS where what is said is no number."""
    try:
        lifetime = float(seconds or DEFAULT_LIFETIME_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_LIFETIME_SECONDS
    return lifetime if math.isfinite(lifetime) else DEFAULT_LIFETIME_SECONDS


def _reveal(secret: Secret | None, key: str) -> str:
    assert secret is not None, "validated by config.loading"
    try:
        return secret.reveal()
    except SecretUnavailableError as error:
        raise SignInRefused(f"{key}: {error}") from None

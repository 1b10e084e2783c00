"""Answers of a Drupal site: read within bounds, and turned into JSON or into the DrupalError they mean."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Mapping
from typing import Any

import httpx

from drupal.errors import DrupalError, NotDrupal, NotPermitted, SignInRefused, Unavailable, Unintelligible
from provisioning.depth import too_deep
from provisioning.inflate import Body, BodyTooLargeError, BodyUndecodableError

LARGEST_BODY = 16 * 1024 * 1024
LONGEST_RETRY_SECONDS = 3600.0
_HALF = re.compile("[\ud800-\udfff]")
_HALF_SPELLED = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_bounded(response: httpx.Response) -> None:
    """Fills `response.content`. Raises Unintelligible."""
    try:
        body = Body(response.headers.get("content-encoding", ""), LARGEST_BODY)
        # Not aiter_bytes(), which decompresses without a bound.
        assert isinstance(response.stream, AsyncIterable), "answers of an AsyncClient"
        async for part in response.stream:
            body.add(part)
        response._content = body.whole()  # noqa: SLF001  # what httpx's own aread() does, which has no bound
    except BodyTooLargeError:
        raise Unintelligible(f"Drupal's answer is larger than {LARGEST_BODY} bytes") from None
    except BodyUndecodableError:
        raise Unintelligible("Drupal's answer is compressed in a way that was not asked for") from None


def session_cookie(response: httpx.Response) -> str:
    cookies = [line.partition(";")[0] for line in response.headers.get_list("set-cookie")]
    ours = (cookie for cookie in cookies if cookie.startswith(("SESS", "SSESS")))
    return "; ".join(cookie for cookie in ours if cookie.isascii() and cookie.isprintable())


def document_of(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON of an answer. Raises the DrupalError that its status or body means."""
    status = response.status_code
    if status >= 300:
        raise _status_error(status, response)
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        raise Unintelligible(
            "Drupal answered with something that is not JSON; is drupal.base_url the site's address?"
        ) from None
    if not isinstance(document, Mapping) or too_deep(document, response.content):
        raise Unintelligible("Drupal answered with JSON that is not JSON:API")
    if _HALF_SPELLED.search(response.content):
        return {str(key): _whole(value) for key, value in document.items()}
    return document


def _whole(value: Any) -> Any:
    """Half a character, which JSON can spell and nothing else can hold, becomes U+FFFD. Nested less than DEEPEST."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return value


def _status_error(status: int, response: httpx.Response) -> DrupalError:
    if status < 400:
        return NotDrupal(
            f"Drupal redirects ({status}); write the address it redirects to in drupal.base_url",
            status_code=status,
        )
    if status == 400:
        return NotDrupal(
            "Drupal answered 400: a mapped field does not exist, or the host name is not among its trusted hosts",
            status_code=status,
        )
    if status == 401:
        return SignInRefused("Drupal answered 401; is the basic_auth module on?", status_code=status)
    if status == 403:
        return NotPermitted(
            "Drupal answered 403: the account needs the permission 'administer users' (and 'View user email addresses')",
            status_code=status,
        )
    if status == 404:
        return NotDrupal(
            "Drupal answered 404: is the JSON:API module on, and drupal.base_url right?", status_code=status
        )
    retry_after = response.headers.get("retry-after", "")
    seconds = (
        min(float(retry_after), LONGEST_RETRY_SECONDS)
        if retry_after.isascii() and retry_after.isdigit()
        else None
    )
    words = "it is in maintenance mode" if status == 503 else "look at the site's log"
    return Unavailable(f"Drupal answered {status}; {words}", status_code=status, retry_after_seconds=seconds)

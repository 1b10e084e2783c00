"""What the protocol said: the first of the two axes (DESIGN 1.6). What to do about it is `scim.consequences`.

ScimError
|-- NotConnected        no connection: refused, unknown host, certificate not trusted; nothing was sent
|-- NoAnswer            sent, but no whole answer came: timeout, reset, truncated body
|-- Unconfirmed         a write was answered as done, but without the account, or the account does not show it
|-- UnusableAnswer      an answer that is not SCIM: HTML, no JSON, a redirect elsewhere
|   `-- AnswerTooLarge  over the size cap
|-- ListingIncomplete   a listing that cannot be proven whole
|-- ListingTooLong      a listing longer than its reader wants to read
|-- CredentialMissing   the token could not be had: secret unset, OAuth2 token endpoint said no
`-- StatusError         a status of RFC 7644 3.12; 403 with Retry-After is TooManyRequests
    |-- BadRequest 400            |-- Conflicting 409, 400 uniqueness   |-- TooManyRequests 429
    |-- NotAuthenticated 401      |-- VersionMismatch 412              |-- ServerFault 5xx, 408, 425
    |-- NotAllowed 403            |-- TooLarge 413                     `-- Busy 503 with Retry-After
    |-- NotThere 404, 410         |-- NotSupported 405, 501

The target's own words are never kept: a detail may quote attribute values. Status and scimType say enough.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping
from typing import Any

# RFC 7644 table 9, and RFC 9865 3.3.
SCIM_TYPES = {
    "invalidFilter": "the filter is not understood",
    "tooMany": "too many results",
    "uniqueness": "a unique value is taken",
    "mutability": "an attribute cannot be changed",
    "invalidSyntax": "the request is not understood",
    "invalidPath": "a PATCH path is not understood",
    "noTarget": "a PATCH path matches nothing",
    "invalidValue": "a value is missing or not accepted",
    "invalidVers": "the protocol version is not supported",
    "sensitive": "the request must not carry this in its URL",
    "invalidCursor": "the cursor is not valid",
    "expiredCursor": "the cursor has expired",
    "invalidCount": "the page size is not accepted",
}
# Not "does not exist", which is said of a manager or a group.
_DUPLICATE = re.compile(r"already|(?<!not )exist|duplicate|unique|taken|in use", re.IGNORECASE)
LONGEST_RETRY_SECONDS = 3600.0
DEFAULT_RETRY_SECONDS = 5.0


class ScimError(Exception):
    """Its text is for people and holds no value, token or URL."""


class NotConnected(ScimError):
    pass


class NoAnswer(ScimError):
    pass


class Unconfirmed(ScimError):
    """status: as answered."""

    def __init__(self, text: str, status: int) -> None:
        self.status = status
        super().__init__(text)


class UnusableAnswer(ScimError):
    pass


class AnswerTooLarge(UnusableAnswer):
    pass


class ListingIncomplete(ScimError):
    pass


class ListingTooLong(ScimError):
    pass


class CredentialMissing(ScimError):
    pass


class StatusError(ScimError):
    """status: as answered. scim_type: of RFC 7644 table 9, else None. retry_after_seconds: from Retry-After."""

    def __init__(
        self, status: int, scim_type: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        self.status = status
        self.scim_type = scim_type
        self.retry_after_seconds = retry_after_seconds
        meaning = f": {SCIM_TYPES[scim_type]} ({scim_type})" if scim_type else ""
        super().__init__(f"the target answered {status}{meaning}")

    def __reduce__(self) -> tuple[type[StatusError], tuple[int, str | None, float | None]]:
        # For copy.copy, which would take the text for the status.
        return type(self), (self.status, self.scim_type, self.retry_after_seconds)


class BadRequest(StatusError):
    pass


class NotAuthenticated(StatusError):
    pass


class NotAllowed(StatusError):
    pass


class NotThere(StatusError):
    pass


class NotSupported(StatusError):
    pass


class Conflicting(StatusError):
    pass


class VersionMismatch(StatusError):
    pass


class TooLarge(StatusError):
    pass


class TooManyRequests(StatusError):
    pass


class ServerFault(StatusError):
    pass


class Busy(StatusError):
    pass


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotThere,
    405: NotSupported,
    408: ServerFault,
    409: Conflicting,
    410: NotThere,
    412: VersionMismatch,
    413: TooLarge,
    425: ServerFault,
    429: TooManyRequests,
    501: NotSupported,
}


def status_error(
    status: int, headers: Mapping[str, str], body: Any, *, creating: bool = False, versioned: bool = False
) -> StatusError:
    """The error of an answer with status >= 400. creating: the request was a create, where some servers say 400 for
    a duplicate; their words are looked at, not kept. versioned: it had an If-Match.
    """
    error = body if isinstance(body, Mapping) else {}
    said = error.get("scimType")
    scim_type = said if isinstance(said, str) and said in SCIM_TYPES else None
    retry_after = retry_after_seconds(headers.get("retry-after"))
    if scim_type == "uniqueness":
        return Conflicting(status, scim_type)
    if creating and status == 400 and _DUPLICATE.search(str(error.get("detail", ""))):
        return Conflicting(status, scim_type)
    if status == 503 and retry_after is not None:
        return Busy(status, scim_type, retry_after)
    if status == 403 and retry_after is not None:
        # GitHub's limit on writes.
        return TooManyRequests(status, scim_type, retry_after)
    if status == 412 and not versioned:
        # GitLab says so of whatever it refuses.
        return BadRequest(status, scim_type)
    kind = _BY_STATUS.get(status, ServerFault if status >= 500 else BadRequest)
    return kind(status, scim_type, retry_after)


def is_scim_error(body: Any) -> bool:
    """Whether SCIM says so (RFC 7644 3.12), and not something in between."""
    schemas = body.get("schemas") if isinstance(body, Mapping) else None
    return isinstance(schemas, list) and any("scim" in str(each).lower() for each in schemas)


def asked_to_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds nobody is to send; None: nobody has asked for that."""
    if status not in {403, 429, 503}:
        return None
    wait = retry_after_seconds(headers.get("retry-after"))
    return DEFAULT_RETRY_SECONDS if wait is None and status == 429 else wait


def retry_after_seconds(header: str | None) -> float | None:
    """RFC 9110 10.2.3: seconds, or a date. Never more than an hour."""
    header = (header or "").strip()
    if header.isascii() and header.isdigit():
        return min(float(header), LONGEST_RETRY_SECONDS)
    try:
        when = email.utils.parsedate_to_datetime(header)
        if when.tzinfo is None:
            when = when.replace(tzinfo=dt.UTC)
        seconds = (when - dt.datetime.now(dt.UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser's, for dates that are none
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_SECONDS)

"""What to do about an error: the second of the two axes (DESIGN 1.6). The first, what the protocol said, is
`scim.errors` for the target and `drupal.errors` for the source; each maps its classes to these by one table.

ProvisioningError
|-- Transient        try again with back-off; an attempt is spent
|   `-- Unanswered   nothing came back that is the target's answer; so for everybody in a row, and it is an outage
|       `-- AmbiguousWrite   a write was sent and its answer lost: wait until it cannot arrive any more, look before writing again
|-- Throttled        the target asked us to wait: nobody sends until then; no attempt is spent
|-- Outage           the whole target is unusable (token, network, a run of 5xx): quarantine; no attempt is spent
|-- Permanent        trying again cannot help: dead letter at once
|-- Missing          404 for an id we knew: the link is stale
|-- Conflict         409 or uniqueness: somebody has that userName or externalId already
|-- Superseded       412: the account changed since we read it: read again, plan again
`-- SourceUnreadable the source could not be read: nothing is known, nothing is planned; no attempt is spent
"""

from __future__ import annotations

DETAIL_LIMIT = 300


class ProvisioningError(Exception):
    """detail: a short sentence for a person, free of attribute values. status_code, scim_type: from the target."""

    def __init__(
        self,
        detail: str,
        *,
        status_code: int | None = None,
        scim_type: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail[:DETAIL_LIMIT])
        self.detail = detail[:DETAIL_LIMIT]
        self.status_code = status_code
        self.scim_type = scim_type
        self.retry_after_seconds = retry_after_seconds


class Transient(ProvisioningError):
    """Worth another attempt, later: a read that timed out or was answered 5xx."""


class Unanswered(Transient):
    """Nothing came back, or nothing that the target would say."""


class AmbiguousWrite(Unanswered):
    """The request may have been acted on, or may still be: the next attempt comes a little later, and looks before it
    writes.
    """


class Throttled(ProvisioningError):
    """429, or 503 with Retry-After: the gate closes for everybody (retry_after_seconds)."""


class Outage(ProvisioningError):
    """Nobody's user is at fault. `certain` tells a rejected credential (401) from what may pass by itself."""

    certain = False


class Unauthorized(Outage):
    """401, to a probe as well, or no credential: wrong for everybody; the target is quarantined at once."""

    certain = True


class Permanent(ProvisioningError):
    """The target refuses this user as it is: 400, 403 for one user, 413; a person has to change something."""


class Missing(ProvisioningError):
    """The account is not there under the id we knew."""


class Conflict(ProvisioningError):
    """A unique attribute is taken (RFC 7644 3.12, scimType uniqueness)."""


class Superseded(ProvisioningError):
    """If-Match failed (RFC 7644 3.14)."""


class SourceUnreadable(ProvisioningError):
    """Drupal could not be read. Never a user that is gone (DESIGN 5.4)."""


class SourceIdentityLost(SourceUnreadable):
    """Drupal answers, but not to the account we configured: stop at once, more tries lock the account out."""

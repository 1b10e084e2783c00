"""What to do about what the protocol said: one table, proven total by a test."""

from __future__ import annotations

from dataclasses import dataclass

from provisioning import errors as consequence
from scim import errors as said

CONSEQUENCES: dict[type[said.ScimError], type[consequence.ProvisioningError]] = {
    said.NotConnected: consequence.Outage,
    said.NoAnswer: consequence.Unanswered,
    said.Unconfirmed: consequence.Transient,
    said.UnusableAnswer: consequence.Unanswered,
    said.AnswerTooLarge: consequence.Unanswered,
    said.ListingIncomplete: consequence.Transient,
    said.ListingTooLong: consequence.Transient,
    said.CredentialMissing: consequence.Unauthorized,
    said.BadRequest: consequence.Permanent,
    said.NotAuthenticated: consequence.Unauthorized,
    said.NotAllowed: consequence.Permanent,
    said.NotThere: consequence.Missing,
    said.NotSupported: consequence.Permanent,
    said.Conflicting: consequence.Conflict,
    said.VersionMismatch: consequence.Superseded,
    said.TooLarge: consequence.Permanent,
    said.TooManyRequests: consequence.Throttled,
    said.ServerFault: consequence.Transient,
    said.Busy: consequence.Throttled,
}
# After these the target may have acted all the same.
_ANSWER_LOST = (said.NoAnswer, said.Unconfirmed, said.UnusableAnswer, said.ServerFault)


def consequence_of(error: said.ScimError, *, writing: bool = False) -> consequence.ProvisioningError:
    """writing: the request was a write. When its answer was lost, a target that is slow may still carry it out."""
    kind = CONSEQUENCES[type(error)]
    if writing and isinstance(error, _ANSWER_LOST):
        kind = consequence.AmbiguousWrite
    if isinstance(error, said.Unconfirmed):
        return kind(str(error), status_code=error.status)
    if not isinstance(error, said.StatusError):
        return kind(str(error))
    retry_after = error.retry_after_seconds
    if kind is consequence.Throttled and retry_after is None:
        retry_after = said.DEFAULT_RETRY_SECONDS
    return kind(
        str(error), status_code=error.status, scim_type=error.scim_type, retry_after_seconds=retry_after
    )


@dataclass(slots=True)
class Consequences:
    """Turns what the protocol said into what to do about it."""

    writing: bool = False

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, said.ScimError):
            raise consequence_of(error, writing=self.writing) from None

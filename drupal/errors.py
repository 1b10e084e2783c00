"""Why Drupal could not be read, and the one table from that to what to do about it (`provisioning.errors`).

DrupalError
|-- Unreachable      no answer: host, port, network, time-out, file
|-- SignInRefused    our account or password is not taken
|-- IdentityLost     it answers, but not to our account (JSON:API as anonymous, FACTS "Identity")
|-- NotPermitted     our account may not read what we need
|-- NotDrupal        it answers, but this is no Drupal: wrong database, table prefix or address
|-- NoUsers          a Drupal without a single user: an emptied or wrong site, never one that everybody left
|-- UnknownField     a mapped field the site does not have: never read as an empty one
|-- Unavailable      it is there and cannot answer now: maintenance, a lock, an overload, a query that failed
`-- Unintelligible   the answer makes no sense: HTML, not JSON, a row without what every user has

A detail is a sentence for a person: what is wrong and what to do. It holds no value, password, SQL parameter or query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from provisioning.errors import ProvisioningError, SourceIdentityLost, SourceUnreadable


class DrupalError(Exception):
    """Base of the source's errors. status_code: of the HTTP answer, where there was one."""

    def __init__(
        self, detail: str, *, status_code: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds


class Unreachable(DrupalError):
    """No answer."""


class SignInRefused(DrupalError):
    """The account or its password is not taken."""


class IdentityLost(DrupalError):
    """Answered as somebody else: stop at once, five failures lock the account for six hours (FACTS "Identity")."""


class NotPermitted(DrupalError):
    """The account lacks a right."""


class NotDrupal(DrupalError):
    """Not the tables or the address of a Drupal site."""


class NoUsers(DrupalError):
    """Not one user with uid > 0."""


class UnknownField(DrupalError):
    """The site has no field of a mapped name."""


class Unavailable(DrupalError):
    """Cannot answer now."""


class Unintelligible(DrupalError):
    """The answer makes no sense."""


CONSEQUENCES: Mapping[type[DrupalError], type[SourceUnreadable]] = {
    Unreachable: SourceUnreadable,
    SignInRefused: SourceUnreadable,
    IdentityLost: SourceIdentityLost,
    NotPermitted: SourceUnreadable,
    NotDrupal: SourceUnreadable,
    NoUsers: SourceUnreadable,
    UnknownField: SourceUnreadable,
    Unavailable: SourceUnreadable,
    Unintelligible: SourceUnreadable,
}


def consequence(error: DrupalError) -> ProvisioningError:
    """What an error of Drupal's means for provisioning."""
    return CONSEQUENCES[type(error)](
        error.detail, status_code=error.status_code, retry_after_seconds=error.retry_after_seconds
    )


@contextmanager
def source_errors() -> Iterator[None]:
    """Raises a DrupalError as its consequence. The cause is cut off: a driver's text can hold parameters."""
    try:
        yield
    except DrupalError as error:
        raise consequence(error) from None

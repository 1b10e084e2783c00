from __future__ import annotations

import traceback

import pytest

from drupal.errors import CONSEQUENCES, DrupalError, IdentityLost, Unavailable, source_errors
from provisioning.errors import SourceIdentityLost, SourceUnreadable


def every_class() -> set[type[DrupalError]]:
    found, waiting = set[type[DrupalError]](), [DrupalError]
    while waiting:
        new = waiting.pop().__subclasses__()
        found.update(new)
        waiting.extend(new)
    return found


def test_every_error_of_drupal_has_a_consequence() -> None:
    assert set(CONSEQUENCES) == every_class()


def test_no_error_of_drupal_is_ever_taken_for_a_user_who_is_gone() -> None:
    assert all(issubclass(consequence, SourceUnreadable) for consequence in CONSEQUENCES.values())


def test_lost_identity_keeps_its_own_class_because_trying_again_locks_the_account() -> None:
    assert CONSEQUENCES[IdentityLost] is SourceIdentityLost


def test_a_consequence_keeps_what_a_person_and_the_queue_need_and_no_cause() -> None:
    def fails() -> None:
        with source_errors():
            try:
                raise RuntimeError("canary-value")
            except RuntimeError:
                raise Unavailable(
                    "the site is in maintenance", status_code=503, retry_after_seconds=7
                ) from None

    with pytest.raises(SourceUnreadable) as raised:
        fails()

    assert (raised.value.detail, raised.value.status_code) == ("the site is in maintenance", 503)
    assert raised.value.retry_after_seconds == 7
    assert "canary-value" not in "".join(traceback.format_exception(raised.value))

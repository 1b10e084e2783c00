from __future__ import annotations

import pytest

from provisioning import errors as consequence
from scim import errors as said
from scim.consequences import CONSEQUENCES, consequence_of


def leaves(kind: type) -> set[type]:
    below = kind.__subclasses__()
    return set().union(*map(leaves, below)) if below else {kind}


def test_every_protocol_error_has_a_consequence():
    assert leaves(said.ScimError) <= set(CONSEQUENCES)
    assert said.UnusableAnswer in CONSEQUENCES  # raised itself, and the base of another


def test_every_consequence_is_one_reconcile_knows():
    for error in CONSEQUENCES.values():
        assert issubclass(error, consequence.ProvisioningError)


@pytest.mark.parametrize(
    "body",
    [
        None,
        "canary",
        ["canary"],
        {"detail": "canary"},
        {"scimType": "canary"},
        {"error": {"scimType": "canary"}},
    ],
    ids=["empty", "text", "list", "detail", "unknown scimType", "foreign JSON"],
)
def test_a_body_tells_a_scim_type_of_the_rfc_or_nothing(body):
    error = said.status_error(400, {"www-authenticate": "canary"}, body)
    assert error.scim_type is None
    assert str(error) == "the target answered 400"
    assert "canary" not in repr(error)


def test_a_known_scim_type_is_kept_and_put_into_words_of_ours():
    error = said.status_error(400, {}, {"scimType": "invalidValue", "detail": "canary", "status": "400"})
    assert error.scim_type == "invalidValue"
    assert str(error) == "the target answered 400: a value is missing or not accepted (invalidValue)"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, said.BadRequest),
        (401, said.NotAuthenticated),
        (402, said.BadRequest),
        (403, said.NotAllowed),
        (404, said.NotThere),
        (405, said.NotSupported),
        (408, said.ServerFault),
        (409, said.Conflicting),
        (410, said.NotThere),
        (412, said.BadRequest),
        (413, said.TooLarge),
        (425, said.ServerFault),
        (429, said.TooManyRequests),
        (500, said.ServerFault),
        (501, said.NotSupported),
        (502, said.ServerFault),
        (503, said.ServerFault),
        (504, said.ServerFault),
        (599, said.ServerFault),
    ],
)
def test_the_status_picks_the_class(status, kind):
    assert type(said.status_error(status, {}, None)) is kind


def test_412_is_of_the_version_where_one_was_sent():
    assert type(said.status_error(412, {}, None, versioned=True)) is said.VersionMismatch


def test_503_says_when_to_come_back_or_is_a_fault():
    assert type(said.status_error(503, {"retry-after": "7"}, None)) is said.Busy
    assert type(said.status_error(503, {"retry-after": "soon"}, None)) is said.ServerFault


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 12 ", 12),
        ("\x1c0", 0),
        ("999999999", 3600),
        ("-5", None),
        ("soon", None),
        ("Wed, 99 Foo 2026", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600),
        ("Wed, 21 Oct 2099 07:28:00 -0000", 3600),
    ],
)
def test_retry_after_is_read_and_capped(header, seconds):
    assert said.retry_after_seconds(header) == seconds


def test_being_throttled_without_a_time_waits_a_little():
    error = consequence_of(said.status_error(429, {}, None))
    assert isinstance(error, consequence.Throttled)
    assert error.retry_after_seconds == said.DEFAULT_RETRY_SECONDS


@pytest.mark.parametrize(
    "detail", ["already exists", "Duplicate entry", "must be UNIQUE", "is taken", "in use"]
)
def test_a_400_to_a_create_may_say_conflict_in_words_but_only_to_a_create(detail):
    body = {"detail": f"canary {detail}"}
    assert type(said.status_error(400, {}, body, creating=True)) is said.Conflicting
    assert type(said.status_error(400, {}, body)) is said.BadRequest


def test_only_of_a_write_a_lost_answer_leaves_doubt():
    assert type(consequence_of(said.NoAnswer("x"), writing=True)) is consequence.AmbiguousWrite
    assert type(consequence_of(said.NoAnswer("x"))) is consequence.Unanswered


@pytest.mark.parametrize("scim_type", [["uniqueness"], {"a": 1}, 5])
def test_a_scim_type_of_any_shape_is_survived(scim_type):
    assert said.status_error(400, {}, {"scimType": scim_type}).scim_type is None


def test_what_does_not_exist_is_no_duplicate():
    error = said.status_error(400, {}, {"detail": "manager does not exist"}, creating=True)
    assert type(error) is said.BadRequest

from __future__ import annotations

import httpx
import pytest

from provisioning import errors as consequence
from scim import errors as said
from scim.consequences import CONSEQUENCES, consequence_of
from scim.network import NETWORK_ERRORS


def leaves(kind: type) -> set[type]:
    below = kind.__subclasses__()
    return set().union(*map(leaves, below)) if below else {kind}


def test_every_protocol_error_has_a_consequence():
    assert set(CONSEQUENCES) == leaves(said.ScimError)


def test_every_consequence_is_one_reconcile_knows():
    for error in CONSEQUENCES.values():
        assert issubclass(error, consequence.ProvisioningError)


def test_every_network_error_of_httpx_is_mapped():
    for error in leaves(httpx.RequestError):
        assert any(kind in NETWORK_ERRORS for kind in error.__mro__), error


@pytest.mark.parametrize(
    "body", [None, "text", [], {"detail": "canary"}, {"scimType": "canary"}, {"scimType": ["x"]}]
)
def test_a_body_that_is_no_error_object_is_dropped(body):
    error = said.status_error(400, {}, body if not isinstance(body, dict) or "scimType" not in body else {})
    assert error.scim_type is None
    assert "canary" not in str(
        said.status_error(400, {}, body if not isinstance(body, dict) else {"detail": "canary"})
    )


def test_a_write_whose_answer_was_lost_is_ambiguous_only_for_a_create():
    assert type(consequence_of(said.NoAnswer("x"), creating=True)) is consequence.AmbiguousWrite
    assert type(consequence_of(said.NoAnswer("x"))) is consequence.Transient


@pytest.mark.parametrize("scim_type", [["uniqueness"], {"a": 1}, 5])
def test_a_scim_type_of_any_shape_is_survived(scim_type):
    assert said.status_error(400, {}, {"scimType": scim_type}).scim_type is None


def test_what_does_not_exist_is_no_duplicate():
    error = said.status_error(400, {}, {"detail": "manager does not exist"}, creating=True)
    assert type(error) is said.BadRequest

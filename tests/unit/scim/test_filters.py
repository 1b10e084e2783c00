from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.model import RemoteUser
from scim.filters import contains, equals, matches, resource_path


def account(**resource):
    return RemoteUser("1", None, {"id": "1", **resource})


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("userName", "bjensen", 'userName eq "bjensen"'),
        ("userName", 'a"b\\c', 'userName eq "a\\"b\\\\c"'),
        ("userName", "a\nb\x00", 'userName eq "a\\nb\\u0000"'),
        ("userName", "Zoë", 'userName eq "Zoë"'),
        ("emails.value", "z@x", 'emails.value eq "z@x"'),
        ('emails[type eq "work"].value', "z@x", 'emails[type eq "work" and value eq "z@x"]'),
        ("urn:x:2.0:User:badge", "7", 'urn:x:2.0:User:badge eq "7"'),
    ],
)
def test_a_filter_compares_with_a_json_string(attribute, value, expected):
    assert equals(attribute, value) == expected


@given(st.text())
def test_no_value_can_end_its_filter_early(value):
    for condition, start in ((equals("userName", value), "userName eq "), (contains("a", value), "a co ")):
        assert condition.startswith(start)
        assert json.loads(condition.removeprefix(start)) == value
        assert not any(ord(character) < 32 for character in condition)


@pytest.mark.parametrize(
    ("scim_id", "path"),
    [
        ("2819c223", "/Users/2819c223"),
        ("a/b", "/Users/a%2Fb"),
        ("a?b#c d%", "/Users/a%3Fb%23c%20d%25"),
        ("ü", "/Users/%C3%BC"),
    ],
)
def test_an_id_stays_one_segment_of_the_path(scim_id, path):
    assert resource_path(scim_id) == path


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("userName", "ANNA", True),
        ("username", "anna", True),
        ("userName", "ann", False),
        ("externalId", "x-1", True),
        ("externalId", "X-1", False),
        ("emails.value", "A@example.org", True),
        ("emails.value", "example.org", False),
        ('emails[type eq "work"].value', "a@example.org", True),
        ('emails[type eq "home"].value', "a@example.org", False),
        ("nickName", "None", False),
    ],
)
def test_a_match_has_to_hold_when_we_look_ourselves(attribute, value, expected):
    anna = account(
        userName="anna", externalId="x-1", emails=[{"type": "work", "value": "a@example.org"}], nickName=None
    )
    assert matches(anna, attribute, value) is expected


def test_an_external_id_sent_as_a_number_is_still_an_external_id():
    assert matches(account(externalId=42), "externalId", "42")

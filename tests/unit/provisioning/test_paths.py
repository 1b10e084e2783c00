"""SCIM paths: read and written, found and removed."""

from __future__ import annotations

import pytest
from hypothesis import given

from provisioning.mapping import new_resource
from provisioning.model import Desired
from provisioning.paths import PathError, parse, remove_value, set_value, value_at
from tests.support.resources import DEPARTMENT, MAIL, PATHS, RESOURCES, VALUES


@pytest.mark.parametrize(
    "text",
    ["userName", "name.givenName", MAIL, DEPARTMENT, 'emails[type eq "work" and primary eq true].value', "emails", 'x509Certificates[display eq "a\\"b"].value'],
)  # fmt: skip
def test_paths_are_read_and_written(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1name",
        "emails[type]",
        'emails[type ne "x"].value',
        "a.b.c",
        "urn:x",
        'emails[type eq "work"',
        "user name",
    ],
)
def test_what_is_no_path_is_told(text):
    with pytest.raises(PathError):
        parse(text)


def test_the_core_schema_may_be_written_out():
    assert parse("urn:ietf:params:scim:schemas:core:2.0:User:userName") == parse("userName")


def test_values_are_found_whatever_the_case_and_shape():
    resource = {
        "UserName": "a",
        "emails": [{"type": "HOME", "value": "h"}, {"Type": "Work", "value": "w"}],
        "active": "True",
    }
    assert value_at(resource, parse("userName")) == "a"
    assert value_at(resource, parse(MAIL)) == "w"
    assert value_at(resource, parse("emails.value")) == ["h", "w"]
    assert value_at(resource, parse("name.givenName")) is None
    assert value_at({"emails": {"type": "work", "value": "single"}}, parse(MAIL)) == "single"


def test_the_last_value_of_an_element_takes_the_element_with_it():
    resource = {
        "emails": [{"type": "work", "value": "w", "primary": True}, {"type": "home", "value": "h"}],
        "name": {"givenName": "Z"},
    }
    remove_value(resource, parse(MAIL))
    remove_value(resource, parse("name.givenName"))
    assert resource == {"emails": [{"type": "home", "value": "h"}]}


@given(RESOURCES, PATHS, VALUES)
def test_what_is_set_is_found_and_what_is_removed_is_not(values, path, value):
    resource = new_resource(Desired(values))
    set_value(resource, parse(path), value)
    assert value_at(resource, parse(path)) == value
    remove_value(resource, parse(path))
    assert value_at(resource, parse(path)) is None
    for other, expected in values.items():
        if other != path:
            assert value_at(resource, parse(other)) == expected


WORK = parse('emails[type eq "work"].value')


@pytest.mark.parametrize("emails", [[{"value": "a1"}], {"value": "a1"}])
def test_where_a_target_loses_the_type_the_only_element_is_the_one(emails):
    """Else each change would add an address, and clearing would clear none."""
    account = {"emails": emails}
    assert value_at(account, WORK) == "a1"
    set_value(account, WORK, "a2")
    assert account == {"emails": [{"value": "a2"}]}
    remove_value(account, WORK)
    assert account == {}


@pytest.mark.parametrize(
    "emails",
    [[{"type": "home", "value": "h"}], [{"value": "1"}, {"value": "2"}], []],
    ids=["another type", "two without", "none"],
)
def test_no_element_is_taken_for_another(emails):
    account = {"emails": list(emails)}
    assert value_at(account, WORK) is None
    remove_value(account, WORK)
    assert account.get("emails", []) == emails
    set_value(account, WORK, "w")
    assert account["emails"] == [*emails, {"type": "work", "value": "w"}]


def test_an_only_element_is_not_taken_for_the_primary_one():
    account = {"emails": [{"type": "home", "value": "h"}]}
    assert value_at(account, parse("emails[primary eq true].value")) is None

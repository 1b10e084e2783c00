"""Paths, expressions, rendering, differences and the check against both schemas."""

from __future__ import annotations

import contextlib
import string
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.settings import MappedValue, TargetSettings
from provisioning.diff import changes_from, changes_since, digests, merge, not_kept
from provisioning.expressions import EvaluationError, Expression, ExpressionError
from provisioning.mapping import MappingError, compile_target, matching_value, new_resource
from provisioning.model import Desired, FieldInfo, Link, Presence, SourceUser
from provisioning.paths import PathError, parse, remove_value, set_value, value_at
from provisioning.schema import UserSchemas, check_mapping, read_schema, rfc_schemas

KEY = b"k" * 32
DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
MAIL = 'emails[type eq "work"].value'


def target(mapping: dict[str, str], **known: Any) -> TargetSettings:
    values = {path: MappedValue(value=value) for path, value in mapping.items()}
    return TargetSettings(name="acme", base_url="https://acme.example", mapping=values, **known)


def user(**values: Any) -> SourceUser:
    base = {
        "uid": 7,
        "uuid": "u-7",
        "name": "zoë",
        "mail": "Zoe@Example.test",
        "status": True,
        "roles": ["member"],
    }
    return SourceUser(
        7, "u-7", {**base, "field_first_name": None, "field_interests": [], "changed": 1, **values}
    )


# -- paths -----------------------------------------------------------------------------------------------------------


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


PATHS = st.sampled_from(
    [
        "userName",
        "name.givenName",
        "name.familyName",
        MAIL,
        'emails[type eq "home"].value',
        DEPARTMENT,
        "active",
        "title",
    ]
)
VALUES = st.text(min_size=1, max_size=10).filter(str.strip)
# `active` always has a value where it is mapped.
RESOURCES = st.builds(
    lambda values, active: {**values, "active": active}, st.dictionaries(PATHS, VALUES), st.booleans()
)


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


# -- expressions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("mail | lower", {"mail": "A@B"}, "a@b"),
        ("mail | lower", {"mail": None}, None),
        ("'staff' if 'editor' in roles else 'member'", {"roles": ["editor"]}, "staff"),
        ("mail and 'member' in roles", {"mail": "x", "roles": []}, False),
        ("field_a ~ ' ' ~ field_b", {"field_a": "x", "field_b": None}, "x "),
        ("field_x | join(', ')", {"field_x": ["a", "b"]}, "a, b"),
        ("field_x | first", {"field_x": []}, None),
        ("field_link.uri", {"field_link": {"uri": "u"}}, "u"),
        ("field_link.uri", {"field_link": None}, None),
        ("name | default('nobody')", {"name": ""}, "nobody"),
        ("status", {"status": False}, False),
        ("'constant'", {}, "constant"),
        ("roles", {"roles": ["a"]}, ["a"]),
    ],
)
def test_expressions(text, values, expected):
    assert Expression(text).evaluate(values) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("name |", "expected token"),
        ("name | lowr", "did you mean lower?"),
        ("'a' * 1000000000", "* is not allowed"),
        ("2 ** 99", "** is not allowed"),
        ("'%99999999d' % 1", "% is not allowed"),
        ("range(10)", "calls are not allowed"),
        ("name.format(1)", "calls are not allowed"),
        ("name.__class__", "underscore"),
        ("''.__class__.__mro__", "underscore"),
        ("x }} {{ y", "unexpected"),
        ("name" * 1000, "longer than"),
    ],
)
def test_what_is_no_expression_is_told(text, words):
    with pytest.raises(ExpressionError, match=words.replace("*", r"\*").replace("?", r"\?")):
        Expression(text)


@pytest.mark.parametrize(
    "text", ["name['__class__']", "name['__cl' ~ 'ass__']", "roles['append']", "name.upper"]
)
def test_python_is_out_of_reach(text):
    values = {"name": "x", "roles": []}
    try:
        result = Expression(text).evaluate(values)
    except EvaluationError:
        return
    assert result is None


def test_filters_cannot_multiply_a_value_without_bound():
    text = "name" + " | replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 30
    with pytest.raises(EvaluationError):
        Expression(text).evaluate({"name": "a"})


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits + " |()[]'\".~+-{}%,_<>=", max_size=30))
def test_no_text_gives_anything_but_a_value_or_a_sentence(text):
    with contextlib.suppress(ExpressionError, EvaluationError):
        Expression(text).evaluate({"name": "x", "roles": ["a"]})


# -- rendering -------------------------------------------------------------------------------------------------------


def test_a_user_becomes_a_resource_and_empty_means_absent():
    compiled = compile_target(
        target({"userName": "name", "externalId": "uid", "active": "status", MAIL: "mail | lower", DEPARTMENT: "field_first_name", "title": "'  '", "roles": "field_interests"})
    )  # fmt: skip
    resource = new_resource(compiled.render(user()))
    assert resource == {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "zoë",
        "externalId": "7",
        "active": True,
        "emails": [{"type": "work", "value": "zoe@example.test"}],
    }


def test_extensions_are_declared_in_schemas():
    resource = new_resource(Desired({"userName": "a", DEPARTMENT: "R&D"}))
    assert resource["schemas"][1] == DEPARTMENT.rpartition(":")[0]
    assert resource[DEPARTMENT.rpartition(":")[0]] == {"department": "R&D"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Presence.ACTIVE),
        ({"status": False}, Presence.BLOCKED),
        ({"roles": []}, Presence.OUT_OF_SCOPE),
        ({"status": False, "roles": []}, Presence.BLOCKED),
    ],
)
def test_presence(values, expected):
    compiled = compile_target(target({"userName": "name"}, scope="'member' in roles"))
    assert compiled.source("u-7", user(**values), KEY).presence is expected
    assert compiled.source("u-7", None, KEY).presence is Presence.GONE


def test_a_fingerprint_changes_with_what_is_mapped_and_with_the_mapping_and_with_nothing_else():
    compiled = compile_target(target({"userName": "name"}, scope="mail"))
    other = compile_target(target({"userName": "name", "title": "name"}, scope="mail"))
    before = compiled.fingerprint(user(), KEY)
    assert compiled.fingerprint(user(changed=99, field_first_name="x"), KEY) == before
    assert compiled.fingerprint(user(name="x"), KEY) != before
    assert compiled.fingerprint(user(mail=None), KEY) != before
    assert compiled.fingerprint(user(status=False), KEY) != before
    assert other.fingerprint(user(), KEY) != before
    assert compiled.fingerprint(user(), b"x" * 32) != before


@pytest.mark.parametrize(
    "values", [("half \ud800", "half \ud801"), (Decimal("1.0"), Decimal("1.1")), (2**80, 2**80 + 1)]
)
def test_a_fingerprint_tells_apart_what_json_does_not_know(values):
    compiled = compile_target(target({"userName": "name", "title": "mail"}))
    assert len({compiled.fingerprint(user(mail=value), KEY) for value in (None, *values)}) == 3


def test_a_user_without_user_name_is_told_by_attribute():
    compiled = compile_target(target({"userName": "field_first_name"}))
    with pytest.raises(EvaluationError, match="userName"):
        compiled.render(user())


def test_every_problem_of_a_mapping_is_told_at_once():
    with pytest.raises(MappingError) as raised:
        compile_target(target({"userName": "name |", "emails[": "mail"}, scope="nam |"))
    assert [problem.key for problem in raised.value.problems] == [
        "targets.acme.mapping.userName", "targets.acme.mapping.emails[", "targets.acme.scope",
    ]  # fmt: skip


def test_matching_values():
    desired = Desired({"userName": "a", MAIL: "m@x"})
    assert matching_value(desired, "userName") == "a"
    assert matching_value(desired, "emails.value") == "m@x"
    assert matching_value(desired, "externalId") is None


# -- differences -----------------------------------------------------------------------------------------------------

MAPPED = frozenset(
    {
        "userName",
        "name.givenName",
        "name.familyName",
        MAIL,
        'emails[type eq "home"].value',
        DEPARTMENT,
        "active",
        "title",
    }
)


@given(RESOURCES)
def test_nothing_differs_from_what_was_just_sent(values):
    desired = Desired(values)
    link = Link("1", None, "", digests(desired, KEY))
    assert not changes_since(link, desired, MAPPED, KEY)
    assert not changes_from(new_resource(desired), desired, MAPPED, {})
    assert not_kept(values, {"userName": "x", **new_resource(desired)}) == ()


@given(RESOURCES, RESOURCES)
def test_after_applying_the_changes_nothing_differs(before, after):
    desired = Desired(after)
    sent = digests(Desired(before), KEY)
    account = {**new_resource(Desired(before)), "nickName": "kept", "meta": {"version": "1"}}
    by_link = changes_since(Link("1", None, "", sent, before["active"]), desired, MAPPED, KEY)
    by_account = changes_from(account, desired, MAPPED, sent)
    assert set(by_link.set) == set(by_account.set)
    merged = merge(account, by_account)
    assert not changes_from(merged, desired, MAPPED, sent)
    assert merged["nickName"] == "kept"
    assert "meta" not in merged


def test_a_path_that_left_the_mapping_is_left_alone():
    link = Link("1", None, "", digests(Desired({"userName": "a", "title": "t"}), KEY))
    assert not changes_since(link, Desired({"userName": "a"}), frozenset({"userName"}), KEY)


def test_a_value_somebody_else_set_is_not_taken_away_because_the_field_is_empty():
    assert not changes_from({"userName": "a", "title": "theirs"}, Desired({"userName": "a"}), MAPPED, {})


def test_servers_may_add_keys_to_elements_and_write_booleans_as_text():
    account = {
        "userName": "a",
        "active": "True",
        "emails": [{"type": "work", "value": "m", "primary": True, "display": "m"}],
    }
    assert not changes_from(account, Desired({"userName": "a", "active": True, MAIL: "m"}), MAPPED, {})


# -- both schemas ----------------------------------------------------------------------------------------------------

FIELDS = (FieldInfo("field_first_name"), FieldInfo("field_interests", multiple=True))


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"userName": "nam"}, ["userName", "no user field 'nam'", "did you mean name?"]),
        ({"title": "field_first_nam"}, ["did you mean field_first_name?"]),
        ({"titel": "name"}, ["titel", "no attribute", "did you mean title?"]),
        ({"name.givenNam": "name"}, ["no sub-attribute", "did you mean givenName?"]),
        ({"title": "field_interests"}, ["several values", "| first"]),
        ({"title": "roles"}, ["several values"]),
        ({"emails.value": "mail"}, ["several values", 'emails[type eq "work"].value']),
        ({"emails": "mail"}, ["takes a list"]),
        ({"name": "name"}, ["has parts", "name."]),
        ({"active": "name"}, ["true or false"]),
        ({'title[type eq "x"]': "name"}, ["holds one value"]),
        ({"groups": "field_interests"}, ["read-only"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_mapping_that_does_not_fit_is_told_with_what_to_write(mapping, words):
    compiled = compile_target(target({"userName": "name", **mapping}))
    problems = check_mapping("acme", compiled, FIELDS, rfc_schemas())
    told = " ".join(f"{problem.key} {problem.what} {problem.write}" for problem in problems)
    assert len(problems) == 1, told
    for word in words:
        assert word in told


def test_a_mapping_that_fits_has_no_problems():
    mapping = {
        "userName": "name",
        "externalId": "uuid",
        MAIL: "mail | lower",
        DEPARTMENT: "field_first_name",
        "title": "field_interests | first",
        "name.givenName": "field_first_name",
    }
    assert check_mapping("acme", compile_target(target(mapping)), FIELDS, rfc_schemas()) == ()


def test_what_the_target_requires_and_what_it_does_not_know_is_told_from_its_own_schemas():
    core = read_schema(
        {"attributes": [{"name": "userName", "required": True}, {"name": "displayName", "required": True}, {"name": "id", "required": True, "mutability": "readOnly"}]}
    )  # fmt: skip
    schemas = UserSchemas({"urn:ietf:params:scim:schemas:core:2.0:User": core}, from_target=True)
    compiled = compile_target(target({"userName": "name", DEPARTMENT: "name"}))
    told = [problem.what for problem in check_mapping("acme", compiled, FIELDS, schemas)]
    assert any("no schema" in each for each in told)
    assert any("requires displayName" in each for each in told)

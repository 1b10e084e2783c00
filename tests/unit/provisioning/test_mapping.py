"""Rendering, fingerprints, matching values, and the check of a mapping against both schemas."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from config.settings import MappedValue, TargetSettings
from provisioning.expressions import EvaluationError
from provisioning.mapping import MappingError, compile_target, matching_value, new_resource
from provisioning.model import Desired, FieldInfo, Presence, SourceUser
from provisioning.paths import parse, set_value
from provisioning.schema import UserSchemas, check_mapping, read_schema, rfc_schemas
from provisioning.values import Takes, takes
from tests.support.resources import DEPARTMENT, KEY, MAIL


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
    "values",
    [
        {
            "userName": "a",
            "displayName": "b",
            "name.givenName": "c",
            "name.familyName": "d",
            MAIL: "e",
            DEPARTMENT: "f",
        },
        {"userName": "a", "displayName": "b", "displayname": "c"},
        {"userName": "a", "name": {"formatted": "b"}, "Name.givenName": "c"},
        {"userName": "a", "emails": [{"value": "b"}], MAIL: "c"},
        {"userName": "a", 'emails[type eq "work"]': {"value": "b"}, MAIL: "c"},
    ],
    ids=lambda values: ", ".join(values),
)
def test_a_resource_is_what_setting_each_path_makes(values):
    extensions = {path.schema for path in map(parse, values) if path.schema}
    made: dict[str, Any] = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", *extensions]}
    for path, value in copy.deepcopy(values).items():
        set_value(made, parse(path), value)
    assert new_resource(Desired(copy.deepcopy(values))) == made


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


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"status": False}, Presence.BLOCKED), ({"roles": []}, Presence.OUT_OF_SCOPE)],
)
def test_a_leaver_leaves_though_nothing_can_be_made_of_emptied_fields(values, expected):
    compiled = compile_target(target({"userName": "mail | lower"}, scope="'member' in roles"))
    source = compiled.source("u-7", user(mail=None, **values), KEY)
    assert (source.presence, source.desired) == (expected, None)
    with pytest.raises(EvaluationError, match="userName"):
        compiled.source("u-7", user(mail=None), KEY)


def test_every_problem_of_a_mapping_is_told_at_once():
    with pytest.raises(MappingError) as raised:
        compile_target(target({"userName": "name |", "emails[": "mail"}, scope="nam |"))
    assert [problem.key for problem in raised.value.problems] == [
        "targets.acme.mapping.userName", "targets.acme.mapping.emails[", "targets.acme.scope",
    ]  # fmt: skip


MANAGER = DEPARTMENT.replace("department", "manager.value")


@pytest.mark.parametrize(
    ("path", "expression", "value"),
    [
        ("roles", "roles", [{"value": "member"}]),
        ("emails", "[mail, field_none, '', ' ']", [{"value": "Zoe@Example.test"}]),
        ("emails", "[field_none]", None),
        ("roles", "'staff' if 'editor' in roles else 'member'", [{"value": "member"}]),
        ("emails", "[{'value': mail, 'primary': true}]", [{"value": "Zoe@Example.test", "primary": True}]),
        ("entitlements", "[uid]", [{"value": "7"}]),
        (DEPARTMENT, "uid", "7"),
        (MANAGER, "uid", "7"),
        ("title", "status", "true"),
        ("name.givenName", "uid", "7"),
        ("emails[type eq \"work\"].primary", "status", True),
        ("urn:acme:User:grade", "uid", 7),
        ("urn:acme:User:roles", "roles", ["member"]),
    ],
)  # fmt: skip
def test_a_value_is_as_its_attribute_takes_it(path, expression, value):
    rendered = compile_target(target({"userName": "name", path: expression})).render(user())
    assert rendered.attributes.get(path) == value


def test_the_types_of_attributes_are_the_rfcs():
    for text, attribute in rfc_schemas().attributes():
        path = parse(text)
        whole = next(each for name, each in rfc_schemas().attributes() if name == str(path.whole))
        expected = Takes.TEXT if attribute.type in {"string", "reference", "binary"} else Takes.ANY
        if attribute.multi_valued and any(sub.name == "value" for sub in attribute.sub_attributes):
            expected = Takes.ELEMENTS
        if text == "active":
            expected = Takes.TRUTH
        if path.sub is None or not whole.multi_valued:
            assert takes(path) is expected, text
        else:
            assert takes(replace(path, filters=(("type", "work"),))) is expected, text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Active", "active"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:active", "active"),
        ("externalID", "externalId"),
        (" externalId", "externalId"),
    ],
)
def test_what_decides_on_leavers_is_spelled_in_one_way(text, meant):
    """Of an Active nobody would know that it is active: whoever has left by it was an update, and made active again by the next."""
    with pytest.raises(MappingError) as raised:
        compile_target(target({"userName": "name", text: "status"}))
    (problem,) = raised.value.problems
    assert (problem.key, problem.write) == (f"targets.acme.mapping.{text}", f"write {meant}")


@pytest.mark.parametrize("text", ["schemas", "Schemas", "urn:ietf:params:scim:schemas:core:2.0:User:schemas"])
def test_what_a_resource_says_of_its_schemas_is_not_mapped(text):
    """It would be sent in place of the schemas of the other attributes."""
    with pytest.raises(MappingError) as raised:
        compile_target(target({"userName": "name", text: "roles"}))
    (problem,) = raised.value.problems
    assert (problem.key, problem.write) == (f"targets.acme.mapping.{text}", "take this line out")


def test_matching_values():
    desired = Desired({"userName": "a", MAIL: "m@x"})
    assert matching_value(Desired({"userName": "a", "emails": [{"value": "m@x"}]}), "emails") == "m@x"
    assert matching_value(desired, "userName") == "a"
    assert matching_value(desired, "emails.value") == "m@x"
    assert matching_value(desired, "externalId") is None


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

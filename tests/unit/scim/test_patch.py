"""RFC 7644 3.5.2: the operations of an update, as few as will do."""

from __future__ import annotations

from provisioning.model import Changes, Desired
from scim.patch import operations, patch_body

WORK = 'emails[type eq "work"].value'
WORK_SHOWN = 'emails[type eq "work"].display'
HOME = 'emails[type eq "home"].value'
MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"
BADGES = 'urn:x:2.0:User:badges[kind eq "door"].value'


def made(changes: Changes, desired: Desired | None = None) -> list[dict]:
    return list(operations(changes, desired))


def setting(desired: dict, *names: str, added: tuple[str, ...] = ()) -> list[dict]:
    return made(Changes({name: desired[name] for name in names}, (), frozenset(added)), Desired(desired))


def test_the_body_names_its_schema():
    body = patch_body(Changes({"active": False}), None)
    assert body == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": False}],
    }


def test_only_what_changed_is_sent_by_its_path():
    desired = {"userName": "a", "name.givenName": "A", MANAGER: "7", "title": "x"}
    assert setting(desired, "name.givenName", MANAGER) == [
        {"op": "replace", "path": "name.givenName", "value": "A"},
        {"op": "replace", "path": MANAGER, "value": "7"},
    ]


def test_a_part_of_an_element_that_is_there_is_replaced():
    assert setting({WORK: "a@x", WORK_SHOWN: "A"}, WORK) == [{"op": "replace", "path": WORK, "value": "a@x"}]


def test_a_new_element_is_added_whole_and_once():
    desired = {WORK: "a@x", WORK_SHOWN: "A", HOME: "h@x"}
    assert setting(desired, WORK, WORK_SHOWN, added=(WORK, WORK_SHOWN)) == [
        {"op": "add", "path": "emails", "value": [{"type": "work", "value": "a@x", "display": "A"}]}
    ]


def test_a_part_that_joins_an_element_already_there_is_no_new_element():
    assert setting({WORK: "a@x", WORK_SHOWN: "A"}, WORK_SHOWN, added=(WORK_SHOWN,)) == [
        {"op": "replace", "path": WORK_SHOWN, "value": "A"}
    ]


def test_two_new_elements_of_one_list_are_two_additions():
    added = setting({WORK: "w@x", HOME: "h@x"}, WORK, HOME, added=(WORK, HOME))
    assert [each["value"] for each in added] == [
        [{"type": "work", "value": "w@x"}],
        [{"type": "home", "value": "h@x"}],
    ]


def test_a_new_element_of_an_extension_is_added_to_the_list_of_the_extension():
    assert setting({BADGES: "7"}, BADGES, added=(BADGES,)) == [
        {"op": "add", "path": "urn:x:2.0:User:badges", "value": [{"kind": "door", "value": "7"}]}
    ]


def test_the_last_mapped_part_takes_its_element_with_it():
    assert made(Changes(removed=(WORK, WORK_SHOWN)), Desired({HOME: "h@x"})) == [
        {"op": "remove", "path": 'emails[type eq "work"]'}
    ]


def test_a_part_whose_sibling_stays_goes_alone():
    assert made(Changes(removed=(WORK_SHOWN,)), Desired({WORK: "a@x"})) == [
        {"op": "remove", "path": WORK_SHOWN}
    ]


def test_a_plain_attribute_is_removed_by_its_path_and_before_anything_is_set():
    assert made(Changes({"nickName": "n"}, ("title", "name.familyName")), Desired({"nickName": "n"})) == [
        {"op": "remove", "path": "title"},
        {"op": "remove", "path": "name.familyName"},
        {"op": "replace", "path": "nickName", "value": "n"},
    ]


def test_a_list_is_replaced_whole():
    assert setting({"roles": ["a", "b"]}, "roles", added=("roles",)) == [
        {"op": "replace", "path": "roles", "value": ["a", "b"]}
    ]


def test_nothing_of_what_is_not_changed_is_sent():
    sent = setting({"userName": "canary", WORK: "canary", "title": "x"}, "title")
    assert "canary" not in str(sent)

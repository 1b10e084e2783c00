"""What differs between what was sent, what is there and what is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given

from provisioning.diff import changes_from, changes_since, digests, merge, not_kept
from provisioning.mapping import new_resource
from provisioning.model import Desired, Link
from tests.support import resources
from tests.support.resources import KEY, MAIL, RESOURCES

MAPPED = frozenset(resources.MAPPED)


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


@pytest.mark.parametrize(
    ("there", "wanted", "same"),
    [
        (["a", "b"], ["b", "a"], True),
        (["a", "b"], ["a", "a"], False),
        ([{"value": "a"}, {"value": "b"}], ["a", "a"], False),
        ([{"value": "a", "display": "A"}, {"value": "a"}], ["a", "a"], True),
        (
            [{"value": "a", "type": "work"}, {"value": "a"}],
            [{"value": "a"}, {"value": "a", "type": "work"}],
            True,
        ),
        (
            [{"value": "a", "type": "work", "primary": True}, {"value": "a", "type": "work"}],
            [{"value": "a", "type": "work"}, {"value": "a", "primary": True}],
            True,
        ),
        ([{"value": "a", "type": "work"}] * 2, [{"value": "a"}, {"value": "a", "type": "home"}], False),
    ],
)
def test_each_element_of_a_list_is_there_by_itself(there, wanted, same):
    """One that was taken away is not taken for there because another one is there twice."""
    account = {"userName": "a", "emails": there}
    differs = changes_from(account, Desired({"userName": "a", "emails": wanted}), frozenset({"emails"}), {})
    assert differs.names == (() if same else ("emails",))
    assert not_kept({"emails": wanted}, account) == differs.names

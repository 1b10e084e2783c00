from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from drupal.fields import FieldShape, configured, field_names
from provisioning.model import FieldInfo

LINK = FieldShape("field_link", ("uri", "title", "options"))


def test_the_fields_of_a_mapping_are_its_names_by_their_root() -> None:
    names = frozenset({"mail", "roles", "field_link.uri", "field_link.title", "field_a"})

    assert field_names(names) == ("field_a", "field_link")


def test_one_column_is_a_plain_value_whatever_it_is_called() -> None:
    assert FieldShape("field_a", ("value",)).value([["x"]]) == "x"
    assert FieldShape("field_term", ("target_id",), multiple=True).value([[4], [5]]) == [4, 5]


def test_several_columns_are_named() -> None:
    value = LINK.value([["https://a.example", "A", b"a:0:{}"]])

    assert value == {"uri": "https://a.example", "title": "A", "options": []}


@pytest.mark.parametrize(("multiple", "empty"), [(True, []), (False, None)])
def test_a_field_without_rows_is_empty_in_its_own_way(multiple: bool, empty: Any) -> None:
    assert FieldShape("field_a", ("value",), multiple=multiple).value([]) == empty


def test_a_blob_that_is_not_serialised_is_text() -> None:
    assert FieldShape("field_a", ("value",)).value([["Zoë".encode()]]) == "Zoë"


@pytest.mark.parametrize(
    ("type_", "scale", "stored", "value"),
    [
        ("boolean", None, 1, True),
        ("boolean", None, 0, False),
        ("integer", None, 1, 1),
        ("decimal", 2, Decimal("12.50"), "12.50"),
        ("decimal", 2, 12.5, "12.50"),
        ("", None, Decimal("12.5"), "12.5"),
        ("boolean", None, None, None),
        ("decimal", 2, None, None),
    ],
)
def test_values_are_as_json_api_gives_them(type_: str, scale: int | None, stored: Any, value: Any) -> None:
    given = FieldShape("field_a", ("value",), type=type_, scale=scale).value([[stored]])

    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("storage", "multiple"),
    [({"cardinality": -1}, True), ({"cardinality": 3}, True), ({"cardinality": 1}, False), ({}, None)],
)
def test_cardinality_says_whether_there_are_several(storage: dict[str, Any], multiple: bool | None) -> None:
    assert configured(LINK, storage).multiple is multiple


def test_info_names_parts_only_where_there_are_several() -> None:
    assert LINK.info() == FieldInfo("field_link", multiple=False, columns=("uri", "title", "options"))
    assert FieldShape("field_a", ("value",), multiple=True).info() == FieldInfo("field_a", multiple=True)

"""Expressions: what they give, and what they refuse."""

from __future__ import annotations

import contextlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from provisioning.expressions import EvaluationError, Expression, ExpressionError
from provisioning.sandbox import FILTERS, environment

OF_LISTS = {"first", "join", "last", "length", "list", "max", "min", "sort", "unique"}


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("mail | lower", {"mail": "A@B"}, "a@b"),
        ("mail | lower", {"mail": None}, None),
        ("'staff' if 'editor' in roles else 'member'", {"roles": ["editor"]}, "staff"),
        ("mail and 'member' in roles", {"mail": "x", "roles": []}, False),
        ("field_a ~ ' ' ~ field_b", {"field_a": "x", "field_b": None}, "x "),
        ("field_a | trim ~ ' ' ~ field_b | trim", {"field_a": "x", "field_b": None}, "x "),
        ("field_x.a ~ field_x.b", {"field_x": {"a": "x", "b": None}}, "x"),
        ("field_x[0] ~ field_x[1]", {"field_x": ["x", None]}, "x"),
        ("'@corp' in (mail | lower)", {"mail": None}, False),
        ("mail | lower | default('nobody')", {"mail": None}, "nobody"),
        ("(mail | lower) is none", {"mail": None}, True),
        ("(mail | lower) == none", {"mail": None}, True),
        ("(mail | trim) != none", {"mail": None}, False),
        ("mail == none", {"mail": None}, True),
        ("mail != none", {"mail": "m"}, True),
        ("field_x.title == none", {"field_x": {"title": None}}, True),
        ("mail == ''", {"mail": None}, False),
        ("name | trim(field_x | lower)", {"name": " a ", "field_x": None}, "a"),
        ("name | replace(field_x | lower, '-')", {"name": "ab", "field_x": None}, "ab"),
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
        ("name |", "ends too early"),
        ("(name", "ends too early"),
        ("[a, b", "ends too early"),
        ("'a' if", "ends too early"),
        ("{{ name }}", "without {{ }}"),
        ("Dr. {{ name }}", "without {{ }}"),
        ("{% if name %}x{% endif %}", "without {{ }}"),
        ("name = 'x'", "'=' is not expected after what stands before it; == compares"),
        ("field_a field_b", "'field_b' is not expected"),
        ("'name", "a quotation mark is not closed"),
        ('"name', "a quotation mark is not closed"),
        ("name)", "unexpected ')'"),
        ("a) ~ (b", "unexpected ')'"),
        ("name | lowr", "did you mean lower?"),
        ("'a' * 1000000000", "* is not allowed"),
        ("2 ** 99", "** is not allowed"),
        ("'%99999999d' % 1", "% is not allowed"),
        ("range(10)", "calls are not allowed"),
        ("name.format(1)", "calls are not allowed"),
        ("name.__class__", "underscore"),
        ("''.__class__.__mro__", "underscore"),
        ("x }} {{ y", "without {{ }}"),
        ("x }} y", "'}}' is not expected"),
        ("name" * 1000, "longer than"),
    ],
)
def test_what_is_no_expression_is_told(text, words):
    with pytest.raises(ExpressionError, match=re.escape(words)):
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


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_gives_what_jinjas_own_way_of_running_it_gives(name):
    others = {
        "replace": "name | replace('a', 'b')",
        "abs": "uid | abs",
        "round": "uid | round",
        "float": "uid | float",
    }
    text = others.get(name, f"{'roles' if name in OF_LISTS else 'name'} | {name}")
    values = {"name": " anna b", "uid": -5, "roles": ["b", "a", "a"]}
    jinjas = environment().compile_expression(text)(**values)
    assert Expression(text).evaluate(values) == jinjas

"""Expressions reach no Python, and none can be written in 2,000 characters that runs or grows without bound."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.expressions import LONGEST_EXPRESSION, EvaluationError, Expression, ExpressionError

# The longest any of these took on the slowest machine seen was 0.1 s; before there were bounds, 19 s and more.
LONGEST_SECONDS = 1.5
VALUES: dict[str, Any] = {
    "name": "anna",
    "uid": 5,
    "roles": ["editor", "member"],
    "f": "y" * 65_536,
    "l": ["y" * 60] * 1000,
    "many": [str(number) for number in range(39_000)],
    "big": "y" * 4_000_000,
    "field_link": {"uri": "https://a.example", "title": "t"},
}


def outcome(text: str, values: Mapping[str, Any] = VALUES) -> Any:
    """The value, or which of the two errors; anything else fails the test."""
    try:
        return Expression(text).evaluate(values)
    except (ExpressionError, EvaluationError) as error:
        return error


@pytest.mark.parametrize(
    "text",
    [
        "''.__class__",
        "name.__class__.__mro__[1].__subclasses__()",
        "name|attr('__class__')",
        "roles|map('upper')|list",
        "roles|map(attribute='__class__')|list",
        "roles|select('defined')|list",
        "'{0.__class__}'.format(name)",
        "'%s' % name",
        "'%s'|format(name)",
        "lipsum.__globals__",
        "cycler('a')",
        "range(10)",
        "dict(a=1)",
        "name.upper()",
        "self",
        "self.__init__",
        "self['_TemplateReference__context']",
        "name|xmlattr",
        "name|pprint",
        "name|tojson",
        "name }}{% for x in roles %}{{ x }}{% endfor %}{{ name",
        "name) ~ (name",
        "'a' * 10**9",
        "10 ** 10 ** 10",
        "(" * 990 + "f" + ")" * 990,
        "[" * 990 + "f" + "]" * 990,
    ],
)
def test_what_could_escape_is_refused_when_it_is_compiled(text):
    started = time.monotonic()
    with pytest.raises(ExpressionError):
        Expression(text)
    assert time.monotonic() - started < LONGEST_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "name['__class__']",
        "name['__cl' ~ 'ass__']",
        "name.upper",
        "name.format",
        "roles.append",
        "field_link.items",
        "field_link.keys",
        "field_link['__init__']",
        "nothing['_Missing__x']",
        "nothing.anything.at.all",
        "roles[99]",
        "lipsum",
        "cycler",
        "joiner",
        "namespace",
        "caller",
        "context",
        "environment",
        "__builtins__",
    ],
)
def test_what_python_has_beside_the_fields_is_missing(text):
    assert Expression(text).evaluate(VALUES) is None


@pytest.mark.parametrize(
    "text", ["name.upper ~ ''", "roles.append ~ 'x'", "roles|sort(attribute='__class__')"]
)
def test_no_python_object_is_ever_printed(text):
    assert " at 0x" not in str(outcome(text))
    assert "<" not in str(outcome(text))


def test_parts_of_fields_are_read():
    assert Expression("field_link.uri").evaluate(VALUES) == "https://a.example"
    assert Expression("roles[0] ~ roles[-1] ~ name[1:3]").evaluate(VALUES) == "editormembernn"
    assert Expression("name|replace('n', 'm', 1)").evaluate(VALUES) == "amna"
    assert Expression("roles|unique").evaluate(VALUES) == ["editor", "member"]


def filled(start: str, repeated: str, end: str = "") -> str:
    room = LONGEST_EXPRESSION - len(start) - len(end)
    return start + repeated * (room // len(repeated)) + end


@pytest.mark.parametrize(
    "text",
    [
        *(filled(f"f{before}", step) for before in ("", "|list") for step in ("|title", "|sort", "|list", "|join")),
        *(("f" + step * 60) for step in ("|title", "|upper|lower", "|trim('y')", "|replace('y', 'y')", "|list|join")),
        *(("many" + step * 60) for step in ("|sort", "|unique", "|list")),
        *(("l" + step * 60) for step in ("|sort", "|max", "|string")),
        filled("f", "~f"),
        filled("f", "==f"),
        filled("f", " in f"),
        "f" + "+f" * 90,
        "l" + "+l" * 90,
        filled("name if f else ", "name if f else ", "name"),
        "f|replace('', f)",
        "f|replace('y', 'z' ~ f)",
        "f|list|join(f)",
        "l|join(f)",
        "f|trim(f)",
        "f|truncate(3, true, f)",
        "many|sort|sort|sort|sort",
        "1.5|round(99999999, 'ceil')",
        "1.5|round(-99999999, 'floor')",
        "('9' ~ f)|int",
        filled("'", "9", "'|int"),
        filled("", "9"),
        "f.x" + ".x" * 90,
        filled("", "-", "1"),
        filled("", "not ", "1"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_the_worst_that_can_be_written_ends_soon(text):
    assert len(text) <= LONGEST_EXPRESSION
    started = time.monotonic()
    value = outcome(text)
    assert time.monotonic() - started < LONGEST_SECONDS
    assert len(json.dumps(value, default=str)) < 2_000_000


@pytest.mark.parametrize(
    "text", ["f|replace('y', 'yy')", "f ~ name", "big", "l|join(f)", "many", "many|list"]
)
def test_values_that_grow_too_long_are_refused(text):
    with pytest.raises(EvaluationError):
        Expression(text).evaluate(VALUES)


@pytest.mark.parametrize("text", ["'inf'|float", "'nan'|float", "number", "half", "deep", "object"])
def test_what_json_cannot_carry_is_refused(text):
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    values = {"number": float("inf"), "half": "\ud800", "deep": deep, "object": object()}
    with pytest.raises(EvaluationError):
        Expression(text).evaluate(values)


_WORDS = st.sampled_from(
    ["name", "roles", "f", "field_link", "nothing", "'a'", "1", "0", "[", "]", "(", ")", "{", "}", "~", "+", "-", "/",
     "//", "|", ".", ",", ":", " if ", " else ", " in ", " is ", " not ", " and ", " == ", "lower", "join", "sort",
     "replace", "default", "int", "first", "self", "__class__", "unique", "none", "*", "%", "{%", "}}", "#"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=12).map("".join)))
def test_any_text_is_an_expression_or_refused(text):
    value = outcome(text, {**VALUES, "f": "short"})
    if not isinstance(value, Exception):
        json.dumps(value, allow_nan=False).encode()

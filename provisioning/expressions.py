"""Mapping expressions: Jinja2, sandboxed, compiled once (DESIGN 4). `mail | lower`, `'x' in roles`, `a if b else c`.

An expression sees Drupal fields and nothing else. Filters pass missing values through, so `mail | lower` of a
user without mail is missing too. What could run without bound is refused when the expression is compiled.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateAssertionError, TemplateSyntaxError, Undefined, nodes
from jinja2.parser import Parser

from provisioning.sandbox import (
    FILTERS,
    LONGEST_TEXT,
    MOST_OFFERED,
    BoundedWork,
    EvaluationError,
    Missing,
    environment,
    size,
)

__all__ = ["EvaluationError", "Expression", "ExpressionError", "compiled"]

LONGEST_EXPRESSION = 2_000
LONGEST_LIST = 1_000
# Deeper than any field of Drupal's, and far from Python's own limit.
DEEPEST_VALUE = 64
# A surrogate alone, which JSON can spell and UTF-8 cannot.
_HALF = re.compile("[\ud800-\udfff]")

# Each of these can make a small expression produce a huge value, or reach beyond the fields.
_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Pow: "** is not allowed",
    nodes.Mul: "* is not allowed",
    nodes.Mod: "% is not allowed",
    nodes.Call: "calls are not allowed; use filters, as in name | lower",
}


class ExpressionError(ValueError):
    """An expression that cannot be used; the text says what is wrong and what to write."""


_ENVIRONMENT = environment()
_MISSING = Missing()
_RESULT = "result"


class Expression:
    """A compiled expression. names: the Drupal fields it reads."""

    def __init__(self, text: str) -> None:
        """Raises ExpressionError."""
        self.text = text
        if not text.strip():
            raise ExpressionError("the expression is empty; write a Drupal field or a quoted constant")
        if len(text) > LONGEST_EXPRESSION:
            raise ExpressionError(f"longer than {LONGEST_EXPRESSION} characters")
        tree, self._template = _parse(text)
        named = Counter(node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
        self.names = frozenset(named)
        self.plain_name = _plain_name(tree)
        self._named = tuple(named.items())
        # Only filters count what they do.
        self._bounded = tree.find(nodes.Filter) is not None

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value for one user; missing is None. Raises EvaluationError."""
        # Most lines of a mapping are a field as it is: nothing to run.
        if self.plain_name is not None:
            plain = values.get(self.plain_name)
            if isinstance(plain, str):
                return _text(plain)
            if plain is None or isinstance(plain, int):
                return plain
        try:
            offered, held = {}, 0
            for name, times in self._named:
                value = values.get(name)
                # What a field holds can be long, and an expression can name it hundreds of times.
                held += size(value) * times
                # A missing value prints as nothing, so that `field_a ~ ' ' ~ field_b` never says None.
                offered[name] = _MISSING if value is None else value
            if held > MOST_OFFERED:
                raise EvaluationError("the fields it names hold too much")
            if not self._bounded:
                return _carried(self._run(offered))
            with BoundedWork():
                return _carried(self._run(offered))
        except EvaluationError:
            raise
        except Exception as error:  # whatever a filter raises on odd data is this user's problem
            raise EvaluationError(f"the expression failed with {type(error).__name__}") from None

    def _run(self, offered: Mapping[str, Any]) -> Any:
        """As Jinja's own compiled expressions do."""
        names = _Names(offered)
        # Made out of Jinja's own it takes twice as long, and no filter of ours asks for more.
        for _ in self._template.root_render_func(names):  # type: ignore[arg-type]
            pass
        return names.vars[_RESULT]


@lru_cache(maxsize=1024)
def compiled(text: str) -> Expression:
    """Targets map most fields in the same way, and to compile one expression takes a millisecond. Raises ExpressionError."""
    return Expression(text)


class _Names:
    """What a compiled expression asks of its context: the names it reads, which are all offered, and a place for the result."""

    __slots__ = ("exported_vars", "resolve_or_missing", "vars")
    # Asked by Jinja's `list`.
    eval_ctx = nodes.EvalContext(_ENVIRONMENT)

    def __init__(self, offered: Mapping[str, Any]) -> None:
        self.resolve_or_missing = offered.get
        self.vars: dict[str, Any] = {}
        self.exported_vars: set[str] = set()


def _parse(text: str) -> tuple[nodes.Template, Template]:
    """The tree, and a template that sets _RESULT. What is forbidden is refused before anything is made of it."""
    try:
        tree = _ENVIRONMENT.parse("{{ (" + text + ") }}")
        _refuse_forbidden(tree)
        # For what it refuses: several with a comma between.
        _ENVIRONMENT.compile_expression(text)
    except TemplateAssertionError as error:
        raise ExpressionError(_plain(str(error.message))) from None
    except TemplateSyntaxError as error:
        raise ExpressionError(_not_understood(text) or _plain(str(error.message))) from None
    except ExpressionError:
        raise
    except Exception as error:  # the compiler raises its own kinds for deep or odd input
        raise ExpressionError(f"not an expression ({type(error).__name__})") from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        raise ExpressionError("exactly one expression is expected, without {{ }}")
    return tree, _template(tree.body[0].nodes[0])


def _template(expression: nodes.Expr) -> Template:
    assignment = nodes.Assign(nodes.Name(_RESULT, "store"), expression, lineno=1)
    template = _ENVIRONMENT.from_string(nodes.Template([assignment], lineno=1))
    template.globals = {}
    return template


def _not_understood(text: str) -> str:
    """What is wrong with its grammar. The text alone is read once more: of our brackets around it nobody knows."""
    if "{{" in text or "{%" in text:
        return "an expression is written without {{ }} and {% %}; text stands in quotes, ~ joins, as in 'x-' ~ name"
    try:
        parser = Parser(_ENVIRONMENT, text, state="variable")
        parser.parse_expression()
    except TemplateSyntaxError as error:
        return _plain(str(error.message))
    rest = parser.stream.current
    if rest.type == "eof":
        return ""
    hint = "; == compares" if rest.type == "assign" else ""
    return f"{str(rest.value)[:40]!r} is not expected after what stands before it{hint}"


def _plain(message: str) -> str:
    if message.startswith("No filter named"):
        name = message.split("'")[1]
        near = difflib.get_close_matches(name, FILTERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(FILTERS)}"
        return f"there is no filter {name!r}{hint}"
    if "end of template" in message:
        return "the expression ends too early: something is missing at its end"
    if message.startswith(("unexpected char '\"'", 'unexpected char "\'"')):
        return "a quotation mark is not closed"
    return message.removesuffix(".")


def _refuse_forbidden(tree: nodes.Template) -> None:
    for node in tree.find_all(nodes.Node):
        for kind, message in _FORBIDDEN.items():
            if isinstance(node, kind):
                raise ExpressionError(message)
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            raise ExpressionError(f"names that begin with an underscore cannot be read ({node.attr})")
        if isinstance(node, nodes.Name) and node.name == "self":
            raise ExpressionError("self is no field of Drupal's")  # and means something to Jinja


def _plain_name(tree: nodes.Template) -> str | None:
    output = tree.body[0]
    assert isinstance(output, nodes.Output), "checked by _parse"
    node = output.nodes[0]
    return node.name if isinstance(node, nodes.Name) else None


def _carried(value: Any, depth: int = 0) -> Any:
    """The value as SCIM can carry it. Raises EvaluationError."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, Undefined):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EvaluationError("the number is too large, or none")
        return value
    if depth == DEEPEST_VALUE:
        raise EvaluationError(f"the value is nested more than {DEEPEST_VALUE} levels deep")
    if isinstance(value, tuple | list | Mapping) and len(value) > LONGEST_LIST:
        raise EvaluationError(f"the list has more than {LONGEST_LIST} values")
    if isinstance(value, tuple | list):
        return [_carried(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_text(str(key)): _carried(item, depth + 1) for key, item in value.items()}
    raise EvaluationError(f"the value is a {type(value).__name__}, which SCIM cannot carry")


def _text(value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise EvaluationError(f"the value is longer than {LONGEST_TEXT} characters")
    if not value.isascii() and _HALF.search(value):
        raise EvaluationError("the value holds half a character, which no text can carry")
    return str(value)

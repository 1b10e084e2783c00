"""Mapping expressions: Jinja2, sandboxed, compiled once (DESIGN 4). `mail | lower`, `'x' in roles`, `a if b else c`.

An expression sees Drupal fields and nothing else. Filters pass missing values through, so `mail | lower` of a
user without mail is missing too. What could run without bound is refused when the expression is compiled.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_EXPRESSION = 2_000
LONGEST_TEXT = 65_536
LONGEST_LIST = 1_000

_FILTERS = (
    "abs", "capitalize", "default", "first", "float", "int", "join", "last", "length", "list", "lower", "max", "min",
    "replace", "round", "sort", "string", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip
_TESTS = ("defined", "none", "string", "number", "sequence", "in", "boolean", "true", "false", "odd", "even")
_MISSING_AWARE = {"default"}
# Each of these can make a small expression produce a huge value, or reach beyond the fields.
_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Pow: "** is not allowed",
    nodes.Mul: "* is not allowed",
    nodes.Mod: "% is not allowed",
    nodes.Call: "calls are not allowed; use filters, as in name | lower",
}


class ExpressionError(ValueError):
    """An expression that cannot be used; the text says what is wrong and what to write."""


class EvaluationError(ValueError):
    """An expression that failed on one user. Names the attribute and the kind of error, never a value."""


class _Missing(Undefined):
    """A name or a part that is not there: missing, all the way down."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    __getitem__ = __getattr__


def _missing_through(function: Callable[..., Any]) -> Callable[..., Any]:
    # Jinja hands some filters its environment first, and marks those with an attribute on the function.
    takes_environment = hasattr(function, "jinja_pass_arg")

    def passed(*args: Any, **kwargs: Any) -> Any:
        value = args[1] if takes_environment else args[0]
        return None if _is_missing(value) else _bounded_step(function(*args, **kwargs))

    passed.__dict__.update(getattr(function, "__dict__", {}))
    return passed


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=_Missing, autoescape=False)
    builtin = dict(environment.filters)
    environment.filters = {
        name: builtin[name] if name in _MISSING_AWARE else _missing_through(builtin[name])
        for name in _FILTERS
    }
    environment.filters["default"] = _default
    environment.tests["none"] = _is_missing
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    environment.globals.clear()
    return environment


def _is_missing(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def _default(value: Any, replacement: Any = "", *_: Any) -> Any:
    """Missing and empty text both take the default: that is what Drupal's empty fields mean."""
    return replacement if _is_missing(value) or value == "" else value


_ENVIRONMENT = _environment()


class Expression:
    """A compiled expression. names: the Drupal fields it reads."""

    def __init__(self, text: str) -> None:
        """Raises ExpressionError."""
        self.text = text
        if not text.strip():
            raise ExpressionError("the expression is empty; write a Drupal field or a quoted constant")
        if len(text) > LONGEST_EXPRESSION:
            raise ExpressionError(f"longer than {LONGEST_EXPRESSION} characters")
        tree = _parse(text)
        _refuse_forbidden(tree)
        self.names = frozenset(node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
        self.plain_name = _plain_name(tree)
        self._compiled = _ENVIRONMENT.compile_expression(text, undefined_to_none=True)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value for one user; missing is None. Raises EvaluationError."""
        try:
            result = self._compiled(**{name: _offered(values.get(name)) for name in self.names})
        except EvaluationError:
            raise
        except Exception as error:  # whatever a filter raises on odd data is this user's problem
            raise EvaluationError(f"the expression failed with {type(error).__name__}") from None
        return _bounded(result)


def _parse(text: str) -> nodes.Template:
    try:
        tree = _ENVIRONMENT.parse("{{ (" + text + ") }}")
        _ENVIRONMENT.compile_expression(text)
    except TemplateSyntaxError as error:
        raise ExpressionError(_plain(str(error.message))) from None
    except Exception as error:  # the compiler raises its own kinds for deep or odd input
        raise ExpressionError(f"not an expression ({type(error).__name__})") from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        raise ExpressionError("exactly one expression is expected, without {{ }}")
    return tree


def _plain(message: str) -> str:
    if message.startswith("No filter named"):
        name = message.split("'")[1]
        near = difflib.get_close_matches(name, _FILTERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(_FILTERS)}"
        return f"there is no filter {name!r}{hint}"
    return message.removesuffix(".")


def _refuse_forbidden(tree: nodes.Template) -> None:
    for node in tree.find_all(nodes.Node):
        for kind, message in _FORBIDDEN.items():
            if isinstance(node, kind):
                raise ExpressionError(message)
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            raise ExpressionError(f"names that begin with an underscore cannot be read ({node.attr})")


def _plain_name(tree: nodes.Template) -> str | None:
    output = tree.body[0]
    assert isinstance(output, nodes.Output), "checked by _parse"
    node = output.nodes[0]
    return node.name if isinstance(node, nodes.Name) else None


def _bounded_step(value: Any) -> Any:
    """Chained filters could multiply a value's length at every step."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise EvaluationError(f"a value grew longer than {LONGEST_TEXT} characters")
    return value


def _offered(value: Any) -> Any:
    """A missing value prints as nothing, so that `field_a ~ ' ' ~ field_b` never says None."""
    return _Missing() if value is None else value


def _bounded(value: Any) -> Any:
    if isinstance(value, Undefined):
        return None
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise EvaluationError(f"the value is longer than {LONGEST_TEXT} characters")
    if isinstance(value, tuple | list):
        if len(value) > LONGEST_LIST:
            raise EvaluationError(f"the list has more than {LONGEST_LIST} values")
        return [_bounded(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _bounded(item) for key, item in value.items()}
    raise EvaluationError(f"the value is a {type(value).__name__}, which SCIM cannot carry")

"""The Jinja2 environment of expressions: reads parts of values and nothing of Python, and every filter is bounded.

Bounds count characters and items, not seconds, so that a user's outcome does not depend on how busy a machine is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from typing import Any

from jinja2 import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_TEXT = 65_536
# Of all fields an expression names together, each counted as often as it is named.
MOST_OFFERED = 4_000_000
# Characters handled by the filters of one evaluation, an item counting for ITEM: about half a second at the worst.
MOST_WORK = 10_000_000
ITEM = 100
MOST_DIGITS = 20
MOST_TRIMMED = 100

FILTERS = (
    "abs", "capitalize", "default", "first", "float", "int", "join", "last", "length", "list", "lower", "max", "min",
    "replace", "round", "sort", "string", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip
TESTS = ("defined", "none", "string", "number", "sequence", "in", "boolean", "true", "false", "odd", "even")

_LEFT: ContextVar[list[int] | None] = ContextVar("_LEFT", default=None)


class EvaluationError(ValueError):
    """An expression that failed on one user. Names the attribute and the kind of error, never a value."""


class Missing(Undefined):
    """A name or a part that is not there: missing, all the way down, and equal to none."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return is_missing(other)

    def __ne__(self, other: object) -> bool:
        return not is_missing(other)

    def __hash__(self) -> int:
        return hash(None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    __getitem__ = __getattr__


def is_missing(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


class BoundedWork:
    """What the filters of one evaluation may do together."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[list[int] | None] = _LEFT.set([MOST_WORK])

    def __exit__(self, *_: object) -> None:
        _LEFT.reset(self._token)


def size(value: Any) -> int:
    """Characters of a value, with ITEM for each item of a list."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return ITEM * len(value) + sum(map(size, value))
    if isinstance(value, Mapping):
        return ITEM * len(value) + sum(map(size, value.values()))
    return 1


class _Environment(ImmutableSandboxedEnvironment):
    """A dot and brackets read parts of a field: no attribute of any Python object, methods neither."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Missing):
            return obj
        part = None
        if isinstance(obj, Mapping) and isinstance(argument, str):
            part = obj.get(argument)
        elif isinstance(argument, int) and isinstance(obj, str | list | tuple):
            part = obj[argument] if -len(obj) <= argument < len(obj) else None
        return Missing() if part is None else part

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)


def environment() -> ImmutableSandboxedEnvironment:
    # Not optimized: folding constants would compute, while compiling, what must not be computed at all.
    made = _Environment(undefined=Missing, autoescape=False, optimized=False)
    own: dict[str, Callable[..., Any]] = {
        **made.filters, "join": _join, "replace": _replace, "round": _round(made.filters["round"]), "trim": _trim,
    }  # fmt: skip
    made.filters = {name: _bounded(own[name]) for name in FILTERS}
    made.filters["default"] = _default
    made.tests = {name: made.tests[name] for name in TESTS} | {"none": is_missing}
    made.globals.clear()
    return made


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Missing values pass through; the work is counted before it is done, and the result is bounded."""
    # Jinja hands some filters its environment first, and marks those with an attribute on the function.
    takes_environment = hasattr(function, "jinja_pass_arg")

    def passed(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if takes_environment else args
        if is_missing(given[0]):
            # Prints as nothing, as a name does.
            return Missing()
        _spend(sum(map(size, (*given, *kwargs.values()))))
        return _step(function(*args, **kwargs))

    passed.__dict__.update(getattr(function, "__dict__", {}))
    return passed


def _spend(work: int) -> None:
    left = _LEFT.get()
    if left is None:
        return
    left[0] -= work
    if left[0] < 0:
        raise EvaluationError("the expression does too much work on this user's values")


def _step(value: Any) -> Any:
    if isinstance(value, str):
        return _fitting(value, len(value))
    return list(value) if isinstance(value, Iterator) else value


def _fitting(value: Any, length: int) -> Any:
    if length > LONGEST_TEXT:
        raise EvaluationError(f"a value grew longer than {LONGEST_TEXT} characters")
    return value


def _default(value: Any, replacement: Any = "", *_: Any) -> Any:
    """Missing and empty text both take the default: that is what Drupal's empty fields mean."""
    return replacement if is_missing(value) or value == "" else value


def _join(values: Any, separator: Any = "") -> str:
    """Measured before it is made: a long separator between many values would fill the memory."""
    parts = ["" if is_missing(each) else str(each) for each in values]
    text = str(separator)
    _fitting(None, sum(map(len, parts)) + len(text) * max(0, len(parts) - 1))
    return text.join(parts)


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    """Measured before it is made, as `_join`."""
    if is_missing(old):
        return str(value)
    text, was, becomes = str(value), str(old), "" if is_missing(new) else str(new)
    found = text.count(was)
    replaced = found if count < 0 else min(found, count)
    _fitting(None, len(text) + replaced * (len(becomes) - len(was)))
    return text.replace(was, becomes, count)


def _trim(value: Any, characters: Any = None) -> str:
    if is_missing(characters):
        return str(value).strip()
    if len(characters) > MOST_TRIMMED:
        raise EvaluationError(f"trim takes {MOST_TRIMMED} characters at the most")
    return str(value).strip(characters)


def _round(builtin: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(value: Any, precision: int = 0, method: Any = "common") -> Any:
        # "ceil" and "floor" compute 10 to this power.
        if abs(precision) > MOST_DIGITS:
            raise EvaluationError(f"round takes {MOST_DIGITS} digits at the most")
        return builtin(value, precision, method)

    return rounded

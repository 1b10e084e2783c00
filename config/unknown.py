"""Keys that no model knows, each with the nearest one of the same section."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from config.problems import Problem, nearest
from config.settings import (
    DrupalDatabaseSettings,
    DrupalJsonApiSettings,
    MappedValue,
    Settings,
    TargetSettings,
)


def unknown_keys(file: str, document: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _in(file, "", document, Settings)


def _in(file: str, prefix: str, table: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    # An excluded field is filled in by loading: it is no key.
    known = {name: field for name, field in model.model_fields.items() if not field.exclude}
    for key, value in table.items():
        where = f"{prefix}{key}"
        if key not in known:
            yield Problem(file, where, "unknown key", nearest(key, known))
        elif not isinstance(value, dict):
            continue
        elif where == "drupal":
            reader = DrupalJsonApiSettings if value.get("kind") == "jsonapi" else DrupalDatabaseSettings
            yield from _in(file, "drupal.", value, reader)
        elif where == "targets":
            yield from _in_each(file, "targets.", value, TargetSettings)
        elif model is TargetSettings and key == "mapping":
            yield from _in_mapping(file, f"{where}.", value)
        elif (inner := _model_of(known[key].annotation)) is not None:
            yield from _in(file, f"{where}.", value, inner)


def _in_each(file: str, prefix: str, tables: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    for name, table in tables.items():
        if isinstance(table, dict):
            yield from _in(file, f"{prefix}{name}.", table, model)


def _in_mapping(file: str, prefix: str, mapping: Mapping[str, Any]) -> Iterator[Problem]:
    for path, entry in mapping.items():
        if not isinstance(entry, dict):
            continue
        if entry and not entry.keys() & MappedValue.model_fields.keys():
            # name.givenName = "..." without quotes: TOML has made a table `name` of it.
            example = f"{path}.{_innermost(entry)}"
            yield Problem(
                file,
                f"{prefix}{path}",
                "is no mapping entry",
                f"put the path in quotes: '{example}' = \"...\"",
            )
        else:
            yield from _in(file, f"{prefix}{path}.", entry, MappedValue)


def _innermost(entry: Mapping[str, Any]) -> str:
    key, value = next(iter(entry.items()))
    return f"{key}.{_innermost(value)}" if isinstance(value, dict) and value else str(key)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType):
        return next((model for each in typing.get_args(annotation) if (model := _model_of(each))), None)
    return None

"""From scimpipe.toml and the environment to Settings (DESIGN 5.1). Every mistake is told, all of them at once."""

from __future__ import annotations

import os
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from config.cron import by_weekday_names
from config.environment import override
from config.problems import ConfigError, Problem
from config.rules import rule_problems
from config.settings import DrupalDatabaseSettings, Secret, Settings
from config.unknown import unknown_keys
from config.values import value_problem

FILE_NAME = "scimpipe.toml"
FILE_VARIABLE = "SCIMPIPE_CONFIG"
# What tomllib says of a key that is there already, in whichever of the ways to write one.
_TWICE = ("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate inline table key")
__all__ = ["ConfigError", "find", "load"]


def find(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """--config, else $SCIMPIPE_CONFIG, else ./scimpipe.toml."""
    environ = os.environ if environ is None else environ
    return path or Path(environ.get(FILE_VARIABLE) or FILE_NAME)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads, overrides, checks. Raises ConfigError and nothing else."""
    environ = os.environ if environ is None else environ
    file = find(path, environ)
    try:
        return _load(file, environ)
    except RecursionError:
        raise _unusable(file, "is nested too deeply", "see scimpipe.example.toml") from None


def _load(file: Path, environ: Mapping[str, str]) -> Settings:
    document = _read(file)
    overrides = override(document, environ)
    found = [*unknown_keys(str(file), document), *rule_problems(str(file), document)]
    settings = _validated(file, document, found)
    problems = [*overrides.problems, *map(overrides.place, found)]
    if problems or settings is None:
        raise ConfigError(dict.fromkeys(problems))
    settings = _resolved(settings)
    if untrusted := list(_authority_problems(settings)):
        raise ConfigError(untrusted)
    return settings


def _authority_problems(settings: Settings) -> Iterator[Problem]:
    """Files of certificate authorities that are none: said at once, not at the first request."""
    found: dict[str, BaseModel] = {"redis": settings.redis, "drupal": settings.drupal}
    found |= {f"targets.{name}": target for name, target in settings.targets.items()}
    for section, model in found.items():
        file = getattr(model, "ca_file", None)
        if file is None:
            continue
        try:
            ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError, ValueError):
            what = f"{file} is not a readable PEM file of certificates"
            yield Problem(str(settings.path), f"{section}.ca_file", what, "write the path of one")


def _unusable(file: Path, what: str, write: str) -> ConfigError:
    return ConfigError([Problem(str(file), "", what, write)])


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise _unusable(file, "there is no such file", "run `scimpipe init` to write one") from None
    except IsADirectoryError:
        raise _unusable(file, "is a folder", f"name the file, such as {file / FILE_NAME}") from None
    except OSError as error:
        raise _unusable(file, f"cannot be read: {error.strerror}", "check its rights") from None
    except UnicodeDecodeError:
        raise _unusable(file, "is not UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(file, str(error)) from None
    except ValueError:  # Python converts no integer of more than 4,300 digits
        raise _unusable(file, "holds a number that is too long", "see scimpipe.example.toml") from None


def _no_toml(file: Path, message: str) -> ConfigError:
    """message: tomllib's own, which ends in the place."""
    if message.startswith(_TWICE):
        _, mark, place = message.rpartition(" (at ")
        where = f" at {place.removesuffix(')')}" if mark else ""
        return _unusable(
            file, f"is not valid TOML: a key or section stands there twice{where}", "take one out"
        )
    hint = "text values need quotes, keys with dots or brackets need quotes, too"
    return _unusable(file, f"is not valid TOML: {message}", hint)


# -- types and values ----------------------------------------------------------------------------------------------


def _validated(file: Path, document: Mapping[str, Any], problems: list[Problem]) -> Settings | None:
    try:
        return Settings.model_validate({**_prepared(document), "path": file.absolute()})
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
    # A rule or the nearest key says more than a type does, and unknown keys have been told.
    told = {problem.key for problem in problems}
    found = [(each["type"], value_problem(str(file), each, document)) for each in details]
    problems.extend(
        each for kind, each in found if kind != "extra_forbidden" and not _is_told(each.key, told)
    )
    problems.extend(each for _, each in found if not problems)
    return None


def _is_told(key: str, told: set[str]) -> bool:
    above, _, last = key.rpartition(".")
    return key in told or (above in told and (last.isdigit() or last == "value"))


def _prepared(document: Mapping[str, Any]) -> dict[str, Any]:
    """The short forms written out: a mapping's plain strings, the kind of reader, names of targets."""
    prepared = dict(document)
    if isinstance(prepared.get("drupal"), dict):
        prepared["drupal"] = {"kind": "database", **prepared["drupal"]}
    targets = prepared.get("targets")
    if isinstance(targets, dict):
        prepared["targets"] = {name: _prepared_target(name, target) for name, target in targets.items()}
    return prepared


def _prepared_target(name: str, target: Any) -> Any:
    if not isinstance(target, dict):
        return target
    prepared = {**target, "name": name}
    if isinstance(target.get("mapping"), dict):
        prepared["mapping"] = {
            path: {"value": value} if isinstance(value, str) else value
            for path, value in target["mapping"].items()
        }
    return prepared


# -- what depends on the file's place; weekdays ---------------------------------------------------------------------


def _resolved(settings: Settings) -> Settings:
    folder = settings.path.parent
    service, drupal = settings.service, _with_secret_files(settings.drupal, folder)
    if isinstance(settings.drupal, DrupalDatabaseSettings):
        drupal = drupal.model_copy(update={"url": _resolved_sqlite(settings.drupal.url, folder)})
    targets = {name: _resolved_target(target, folder) for name, target in settings.targets.items()}
    changed = {
        "service": service.model_copy(update={"data_dir": _below(folder, service.data_dir)}),
        "redis": _with_secret_files(settings.redis, folder),
        "drupal": drupal,
        "targets": targets,
    }
    return settings.model_copy(update=changed)


def _resolved_target(target: Any, folder: Path) -> Any:
    target = _with_secret_files(target, folder)
    if target.scheduled is None or not target.scheduled.enabled:
        return target
    cron = by_weekday_names(target.scheduled.cron)
    return target.model_copy(update={"scheduled": target.scheduled.model_copy(update={"cron": cron})})


def _with_secret_files(model: Any, folder: Path) -> Any:
    """Secret files relative to the config file, wherever they are named."""
    changed: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Secret) and value.file is not None:
            changed[name] = Secret(file=_below(folder, value.file))
        elif name == "ca_file" and value is not None:
            changed[name] = _below(folder, value)
        elif isinstance(value, BaseModel) and not isinstance(value, Secret):
            changed[name] = _with_secret_files(value, folder)
    return model.model_copy(update=changed) if changed else model


def _resolved_sqlite(url: str, folder: Path) -> str:
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    # :memory: and SQLite's own file: URIs are not paths.
    if not url.startswith(prefix) or not path or path.startswith((":memory:", "file:")):
        return url
    return f"{prefix}{_below(folder, Path(path))}"


def _below(folder: Path, path: Path) -> Path:
    try:
        return folder / path.expanduser()
    except (RuntimeError, ValueError):  # ~somebody who has no home here: a name like any other
        return folder / path

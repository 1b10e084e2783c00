"""From scimpipe.toml and the environment to Settings (DESIGN 5.1). Every mistake is told, all of them at once."""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from config.problems import ConfigError, Problem, nearest
from config.rules import rule_problems
from config.settings import (
    DrupalDatabaseSettings,
    DrupalJsonApiSettings,
    Secret,
    ServiceSettings,
    Settings,
    TargetSettings,
)

FILE_NAME = "scimpipe.toml"
FILE_VARIABLE = "SCIMPIPE_CONFIG"
OVERRIDE = "SCIMPIPE__"
__all__ = ["ConfigError", "find", "load"]


def find(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """--config, else $SCIMPIPE_CONFIG, else ./scimpipe.toml."""
    environ = os.environ if environ is None else environ
    return path or Path(environ.get(FILE_VARIABLE) or FILE_NAME)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads, overrides, checks. Raises ConfigError and nothing else."""
    environ = os.environ if environ is None else environ
    file = find(path, environ)
    document = _read(file)
    _override(document, environ)
    problems = [*_unknown_keys(str(file), document), *rule_problems(str(file), document)]
    settings = _validated(file, document, problems)
    if problems or settings is None:
        raise ConfigError(dict.fromkeys(problems))
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            [Problem(str(file), "", "there is no such file", "run `scimpipe init` to write one")]
        ) from None
    except OSError as error:
        raise ConfigError(
            [Problem(str(file), "", f"cannot be read: {error.strerror}", "check its rights")]
        ) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(file), "", "is not UTF-8 text", "save it as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        hint = "text values need quotes, keys with dots or brackets need quotes, too"
        raise ConfigError([Problem(str(file), "", f"is not valid TOML: {error}", hint)]) from None
    except RecursionError:
        raise ConfigError(
            [Problem(str(file), "", "is nested too deeply", "see scimpipe.example.toml")]
        ) from None


def _override(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    """SCIMPIPE__REDIS__URL=... sets redis.url. Names without regard to case; values as TOML where they are, else text."""
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(OVERRIDE):
            continue
        *sections, last = name[len(OVERRIDE) :].split("__")
        holder: dict[str, Any] = document
        for section in sections:
            key = _spelled(section, holder)
            if not isinstance(holder.get(key), dict):
                holder[key] = {}
            holder = holder[key]
        holder[_spelled(last, holder)] = _literal(text)


def _spelled(name: str, holder: Mapping[str, Any]) -> str:
    return next((key for key in holder if key.lower() == name.lower()), name.lower())


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


# -- unknown keys, with the nearest known one ---------------------------------------------------------------------


def _unknown_keys(file: str, document: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unknown_in(file, "", document, Settings)


def _unknown_in(
    file: str, prefix: str, table: Mapping[str, Any], model: type[BaseModel]
) -> Iterator[Problem]:
    hidden = {"name", "path"} if model in {TargetSettings, Settings} else set()
    known = {name: field for name, field in model.model_fields.items() if name not in hidden}
    for key, value in table.items():
        where = f"{prefix}{key}"
        if key not in known:
            yield Problem(file, where, "unknown key", nearest(key, known))
        elif where == "drupal":
            yield from _unknown_in_drupal(file, value)
        elif where == "targets":
            for name, target in value.items() if isinstance(value, dict) else ():
                if isinstance(target, dict):
                    yield from _unknown_in(file, f"targets.{name}.", target, TargetSettings)
        elif isinstance(value, dict) and (inner := _model_of(known[key].annotation)) is not None:
            yield from _unknown_in(file, f"{where}.", value, inner)


def _unknown_in_drupal(file: str, value: Any) -> Iterator[Problem]:
    if isinstance(value, dict):
        model = DrupalJsonApiSettings if value.get("kind") == "jsonapi" else DrupalDatabaseSettings
        yield from _unknown_in(file, "drupal.", value, model)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType):
        return next((model for each in typing.get_args(annotation) if (model := _model_of(each))), None)
    return None


# -- types and values ----------------------------------------------------------------------------------------------


def _validated(file: Path, document: Mapping[str, Any], problems: list[Problem]) -> Settings | None:
    try:
        return _resolved(Settings.model_validate({**_prepared(document), "path": file.absolute()}))
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=True)
        problems.extend(_problem(str(file), each) for each in details if each["type"] != "extra_forbidden")
    except RecursionError:
        problems.append(Problem(str(file), "", "is nested too deeply", "see scimpipe.example.toml"))
    return None


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


def _problem(file: str, detail: Mapping[str, Any]) -> Problem:
    kinds = {"database", "jsonapi"}
    parts = [str(part) for part in detail["loc"] if part not in kinds]
    context = detail.get("ctx") or {}
    key = ".".join(parts)
    kind = detail["type"]
    if kind == "missing":
        return Problem(file, key, "is missing", _example(parts))
    if kind in {"literal_error", "enum"}:
        return Problem(file, key, "is not one of the values allowed here", f"write {context.get('expected')}")
    if kind.startswith("union_tag"):
        return Problem(file, "drupal.kind", "is not a way to read Drupal", "write 'database' or 'jsonapi'")
    if parts and parts[-1] in {"token", "password", "client_secret"}:
        return Problem(
            file, key, "is not a reference to a secret", 'write { env = "NAME" } or { file = "PATH" }'
        )
    return Problem(file, key, _words(str(detail["msg"])), _example(parts))


def _words(message: str) -> str:
    return (message[:1].lower() + message[1:]).replace("input should be", "should be")


_EXAMPLES = {
    "url": 'url = "mysql+pymysql://drupal@db/site"',
    "base_url": 'base_url = "https://acme.example/scim/v2"',
    "mapping": '[targets.NAME.mapping] with at least userName = "name"',
    "drupal": "[drupal] with a url, or see `scimpipe init`",
    "targets": "[targets.NAME] with base_url, token and mapping",
    "operations": 'operations = ["create", "update", "deactivate"]',
    "cron": 'cron = "*/30 * * * *"',
}


def _example(parts: list[str]) -> str:
    example = _EXAMPLES.get(parts[-1]) if parts else None
    return f"write {example}" if example else "see scimpipe.example.toml"


# -- paths are relative to the file --------------------------------------------------------------------------------


def _resolved(settings: Settings) -> Settings:
    folder = settings.path.parent
    data_dir = folder / settings.service.data_dir.expanduser()
    changed: dict[str, Any] = {"service": ServiceSettings(data_dir=data_dir)}
    changed["drupal"] = _resolved_model(settings.drupal, folder)
    if isinstance(settings.drupal, DrupalDatabaseSettings):
        url = _resolved_sqlite(settings.drupal.url, folder)
        changed["drupal"] = changed["drupal"].model_copy(update={"url": url})
    changed["redis"] = _resolved_model(settings.redis, folder)
    changed["targets"] = {name: _resolved_model(target, folder) for name, target in settings.targets.items()}
    return settings.model_copy(update=changed)


def _resolved_model(model: Any, folder: Path) -> Any:
    """Secret files relative to the config file, wherever they are named."""
    changed: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Secret) and value.file is not None:
            changed[name] = Secret(file=folder / value.file.expanduser())
        elif isinstance(value, BaseModel) and not isinstance(value, Secret):
            changed[name] = _resolved_model(value, folder)
    return model.model_copy(update=changed) if changed else model


def _resolved_sqlite(url: str, folder: Path) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        return url
    return f"{prefix}{folder / Path(url[len(prefix) :]).expanduser()}"

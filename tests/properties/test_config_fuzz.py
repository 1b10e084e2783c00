"""The example config with anything of TOML in any of its places: settings, or a ConfigError that shows no secret."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.loading import ConfigError, load
from config.settings import Settings

TEXT = (Path(__file__).parents[2] / "scimpipe.example.toml").read_text(encoding="utf-8")
EXAMPLE = tomllib.loads(TEXT)
JSON_API = {
    "kind": "jsonapi",
    "base_url": "https://www.example.org",
    "username": "reader",
    "password": {"env": "P"},
}


def places(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


NEW = (
    "ca_file",
    "oauth2",
    "token_url",
    "client_id",
    "client_secret",
    "env",
    "file",
    "kind",
    "unknown",
    "",
    "a.b",
    "\x1b[2J",
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = keys | st.sampled_from(
    ["https://", "https://[", "http://a..b", "sqlite:///", "redis://", "rediss://h:99999", "unix://", "~nobody/x", "/", "\x00",
     "name |", "a" * 3000, "* * * * *", "61 * * * *", "mysql+pymysql://u:canary-secret@h/d"]
)  # fmt: skip
leaves = (
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words
    | st.sampled_from([dt.date(2026, 1, 1), dt.time(1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)])
)  # fmt: skip


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NEW) | keys, inner, max_size=3)


anything = st.recursive(leaves, _nested, max_leaves=6)


many = hypothesis_settings(
    deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 60), text=st.text(max_size=40))
def test_any_text(tmp_path: Path, start: int, length: int, text: str) -> None:
    """The example with a piece of it replaced."""
    file = tmp_path / "scimpipe.toml"
    file.write_bytes((TEXT[:start] + text + TEXT[start + length :]).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        load(file, {})


@many
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | words, _nested, max_leaves=6
    ),
    keys=st.lists(st.sampled_from(["drupal", "targets", "redis", "acme", "mapping", "x"]), max_size=4),
)
def test_any_variable(tmp_path: Path, value: Any, keys: list[str]) -> None:
    file = tmp_path / "scimpipe.toml"
    file.write_text(TEXT, encoding="utf-8")
    name = "SCIMPIPE__" + "__".join(keys)
    with contextlib.suppress(ConfigError):
        load(file, {name: json.dumps(value)})


@many
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(sorted(places(EXAMPLE))), st.sampled_from(["", *NEW]), anything), max_size=3
    ),
    json_api=st.booleans(),
)
def test_any_document(tmp_path: Path, changes: Any, json_api: bool) -> None:
    document = copy.deepcopy(EXAMPLE)
    if json_api:
        document["drupal"] = dict(JSON_API)
    for place, new, value in changes:
        _put(document, [*place, new] if new else list(place), value)
    file = tmp_path / "scimpipe.toml"
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    try:
        assert isinstance(load(file, {}), Settings)
    except ConfigError as error:
        told = str(error)
        # A path, a name of an attribute and of an operation are shown: no secret stands in their places.
        shown = any(word in str(changes) for word in ("ca_file", "matching", "operations"))
        assert shown or "canary-secret" not in told
        assert "\x1b" not in told


def _put(document: dict[str, Any], place: list[str], value: Any) -> None:
    holder: Any = document
    for key in place[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        holder[place[-1]] = value

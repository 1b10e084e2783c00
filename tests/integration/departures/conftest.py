"""A world on each kind of database, or on SQLite."""

from __future__ import annotations

import pytest

from tests.support.departures import run


@pytest.fixture
def on_each(redis_url, tmp_path):
    return lambda kind, body: run(kind, tmp_path, redis_url, body)


@pytest.fixture
def world(redis_url, tmp_path):
    return lambda body: run("sqlite", tmp_path, redis_url, body)

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.valkey import valkey


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """The URL of an empty database on a real Valkey."""
    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    client.close()
    return valkey_server

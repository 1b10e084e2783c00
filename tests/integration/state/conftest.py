"""The ledger on a real Valkey."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.ledger import with_ledger


@pytest.fixture
def run(redis_url):
    """Runs a body that takes a ledger and a client."""
    return partial(with_ledger, redis_url)

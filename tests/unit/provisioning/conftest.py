"""The world most tests of reconcile begin with."""

from __future__ import annotations

import pytest

from tests.support.reconciling import ANNA, World


@pytest.fixture
def world() -> World:
    """Anna is on the site, and has no account."""
    world = World()
    world.site.add(ANNA, name="anna", mail="anna@example.test")
    return world

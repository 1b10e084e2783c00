"""JSON is written whatever a target gave us."""

from __future__ import annotations

import json

import pytest

from config.json_text import encoded


@pytest.mark.parametrize(
    "value",
    [
        {"userName": 'Zoë "Z"\n', "active": True, "roles": ["a", None], "n": 1.5},
        {"half a character": "\ud800"},
        {"more than 64 bits": 2**80},
    ],
)
def test_what_is_written_reads_the_same(value):
    assert json.loads(encoded(value)) == value


def test_what_json_cannot_carry_is_refused():
    with pytest.raises(TypeError):
        encoded({"object": object()})

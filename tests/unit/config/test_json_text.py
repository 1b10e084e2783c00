"""JSON is written whatever a target gave us, and read as Python's own reads it."""

from __future__ import annotations

import json

import pytest

from config.json_text import decoded, encoded


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


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": "1", "active": true, "n": [1, 1.0, -0.5, null]}',
        b'{"id": 123456789012345678901234567890}',
        b'{"id": 18446744073709551616, "other": -9223372036854775809}',
        b'{"half a character": "\\ud800"}',
        b'"\xed\xa0\x80"',
        b'{"twice": 1, "twice": 2}',
        b"[Infinity, -Infinity, 1e400]",
        b"\xef\xbb\xbf{}",
        '{"userName": "Zoë"}'.encode("utf-16"),
        b"[" * 500 + b"]" * 500,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_read_is_what_pythons_own_json_reads(text):
    assert repr(decoded(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b'{"cut": ', b'"\x01"', b"\xff\xfe\xfd"], ids=lambda text: repr(text)
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # what json.loads promises
        decoded(text)


def test_what_nests_too_deep_is_refused_as_by_pythons_own():
    with pytest.raises(RecursionError):
        decoded(b"[" * 5000 + b"]" * 5000)

"""Digests are kept in Redis for years: the same value has the same digest, however it is computed."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.diff import DIGEST_BYTES, DIGEST_LETTERS, digest

KEY = b"k" * 32
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=5,
)


def as_first_defined(value: object) -> str:
    """Of the value's JSON: keys in order, no spaces, nothing escaped that need not be."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    found = hashlib.blake2b(text.encode(), key=KEY, digest_size=DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(found).decode()[:DIGEST_LETTERS]


@given(VALUES | TEXTS)
def test_a_digest_is_what_it_ever_was(value):
    assert digest(value, KEY) == as_first_defined(value)


@pytest.mark.parametrize(
    ("value", "written"), [("Ada", "71MNMpo"), (True, "z0VJ_fQ"), (["b", {"a": 1}], "pQK7qoZ")]
)
def test_links_written_before_are_understood(value, written):
    assert digest(value, KEY) == written

"""unserialize() of PHP's plain data; the samples are PHP's own output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.tables import php_serialize
from drupal.php import unserialize


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"N;", None),
        (b"b:1;", True),
        (b"b:0;", False),
        (b"i:-7;", -7),
        (b"d:0.5;", 0.5),
        (b's:6:"Z\xc3\xb6\xc3\xab!";', "Zöë!"),
        (b's:5:"a";s:";', 'a";s:'),
        (b"a:0:{}", []),
        (b'a:2:{i:0;s:1:"a";i:1;s:1:"b";}', ["a", "b"]),
        (b'a:1:{s:10:"attributes";a:1:{s:6:"target";s:6:"_blank";}}', {"attributes": {"target": "_blank"}}),
        (b'a:1:{i:3;s:1:"a";}', {3: "a"}),
    ],
)
def test_plain_data_is_read(data: bytes, value: object) -> None:
    assert unserialize(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"i:7",
        b"i:x;",
        b'O:8:"stdClass":0:{}',
        b'C:1:"A":0:{}',
        b'a:1:{s:1:"a";R:1;}',
        b's:9:"short";',
        b"a:2:{i:0;N;}",
        b"a:1:{N;N;}",
        b"N;N;",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"PHP-serialised|literal"):
        unserialize(data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner, min_size=1),
    max_leaves=12,
)


@given(plain)
def test_what_the_demo_site_serialises_is_read_back(value: object) -> None:
    assert unserialize(php_serialize(value)) == value

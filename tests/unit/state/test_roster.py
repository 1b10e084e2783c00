from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from provisioning.model import Total
from state.roster import WIDTH, Page

# Whatever somebody once imported as a uuid.
users = st.dictionaries(st.integers(1, 2**32), st.text(max_size=40), max_size=20)


@given(users)
def test_a_page_comes_back_as_it_was_packed(found):
    page = Page.of(found)
    assert page.users() == dict(sorted(found.items()))
    assert page.total == Total(len(found), sum(found))
    if found:
        assert Page.read(page.packed) == page
    else:
        assert page == Page()


def test_a_user_takes_22_bytes():
    page = Page.of({uid: str(uuid.uuid4()) for uid in range(5 * WIDTH, 6 * WIDTH)})
    assert len(page.packed) / WIDTH < 22.5

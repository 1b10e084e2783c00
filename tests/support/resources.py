"""Resources as a mapping makes them, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

KEY = b"k" * 32
DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
MAIL = 'emails[type eq "work"].value'

MAPPED = (
    "userName",
    "name.givenName",
    "name.familyName",
    MAIL,
    'emails[type eq "home"].value',
    DEPARTMENT,
    "active",
    "title",
)
PATHS = st.sampled_from(MAPPED)
VALUES = st.text(min_size=1, max_size=10).filter(str.strip)
# `active` always has a value where it is mapped.
RESOURCES = st.builds(
    lambda values, active: {**values, "active": active}, st.dictionaries(PATHS, VALUES), st.booleans()
)

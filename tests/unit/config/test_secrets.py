"""A secret that is not there is told by its reference, unless that could be the secret."""

from __future__ import annotations

import pytest

from config.settings import Secret, SecretUnavailableError


@pytest.mark.parametrize(
    "name", ["UNSET", "UNSET_TOKEN", "_UNSET_2", "UNSET2_OAUTH2_KEY", "UNSET__TOKEN_2026"]
)
def test_a_variable_that_is_not_set_is_named(name):
    with pytest.raises(SecretUnavailableError, match=f"environment variable {name} is not set or empty"):
        Secret(env=name).reveal()


@pytest.mark.parametrize(
    "token",
    [
        "secret123",
        "hunter",
        "eyJhbGciOiJIUzI1NiJ9",
        "AKIAIOSFODNN7EXAMPLE",
        "A" * 32,
        "4f9c2ab17d",
        "ghp_x1Y2z3",
    ],
)
def test_a_token_where_a_variables_name_belongs_is_suspected_and_not_shown(token):
    with pytest.raises(SecretUnavailableError, match="and not the secret") as raised:
        Secret(env=token).reveal()
    assert token not in str(raised.value)

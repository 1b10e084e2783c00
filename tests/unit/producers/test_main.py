from __future__ import annotations

import pytest

from producers.main import rest


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        pytest.param(0.0, 5.0, id="nothing-to-do"),
        pytest.param(2.0, 3.0, id="from-start-to-start"),
        pytest.param(3.0, 3.0, id="half-of-the-time-at-most"),
        pytest.param(60.0, 60.0, id="a-slow-database"),
    ],
)
def test_polls_start_in_step_and_leave_the_database_to_others_half_of_the_time(
    took: float, expected: float
) -> None:
    assert rest(5.0, took) == expected

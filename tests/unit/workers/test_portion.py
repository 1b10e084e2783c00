"""How many users of a message are taken at once, by how fast the target is."""

from __future__ import annotations

import pytest

from state.broker import USERS_A_MESSAGE
from workers.portion import FEWEST, SECONDS, Portion


def worked(portion: Portion, users_a_second: float, portions: int = 20) -> list[int]:
    """The size after each of so many portions at a target that does so many users a second."""
    sizes = []
    for _ in range(portions):
        users = portion.of(USERS_A_MESSAGE)
        portion.took(users, users / users_a_second)
        sizes.append(portion.size)
    return sizes


@pytest.mark.parametrize(("concurrency", "users"), [(1, FEWEST), (8, 32), (32, 128), (1024, USERS_A_MESSAGE)])
def test_it_begins_with_some_rounds_of_what_the_target_takes_at_once(concurrency, users):
    assert Portion(concurrency).size == users


def test_a_fast_target_gets_whole_messages_and_a_slow_one_a_second_of_work():
    portion = Portion(32)
    assert worked(portion, 4_000)[-1] == USERS_A_MESSAGE
    assert portion.of(USERS_A_MESSAGE) == USERS_A_MESSAGE
    slow = worked(portion, 80 / SECONDS)
    assert slow[-1] == 80
    assert worked(portion, 5)[-1] == FEWEST
    assert worked(portion, 4_000)[-1] == USERS_A_MESSAGE


def test_one_odd_portion_changes_it_by_half_or_double():
    portion = Portion(32)
    portion.took(128, 600)
    assert portion.size == 64
    portion.took(64, 0)
    assert portion.size == 128


def test_a_few_users_tell_nothing():
    portion = Portion(32)
    portion.took(63, 60)
    assert portion.size == 128


@pytest.mark.parametrize("users", [1, 127, 128, 129, 300, 500])
def test_a_message_is_taken_in_parts_of_one_size_and_none_is_too_large(users):
    portion, parts = Portion(32), []
    while users > sum(parts):
        parts.append(portion.of(users - sum(parts)))
    assert sum(parts) == users
    assert max(parts) <= portion.size
    assert max(parts) - min(parts) <= 1

"""How users are spread over messages."""

from __future__ import annotations

from typing import Any

import pytest

from state.broker import send, users_a_message


class Sent:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    def enqueue(self, message: Any, *, delay: int | None = None) -> None:
        self.messages.append((*message.args, message.queue_name, message.actor_name, delay))


@pytest.mark.parametrize(("concurrency", "users"), [(1, 25), (8, 32), (32, 128), (50, 200), (1024, 200)])
def test_a_message_holds_some_rounds_of_what_the_target_takes_at_once(concurrency, users):
    assert users_a_message(concurrency) == users


def test_everybody_is_in_exactly_one_message():
    sent = Sent()
    send(sent, "acme", ["a", "b", "c", "d", "e"], "bulk", 1.5, at_most=2)
    assert [users for _, users, *_ in sent.messages] == [["a", "b"], ["c", "d"], ["e"]]
    assert {tuple(rest) for _, _, *rest in sent.messages} == {("bulk", "reconcile_bulk", 1500)}

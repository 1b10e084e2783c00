"""How users are spread over messages."""

from __future__ import annotations

from typing import Any

from state.broker import USERS_A_MESSAGE, send


class Sent:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    def enqueue(self, message: Any, *, delay: int | None = None) -> None:
        self.messages.append((*message.args, message.queue_name, message.actor_name, delay))


def test_everybody_is_in_exactly_one_message():
    sent = Sent()
    send(sent, "acme", ["a", "b", "c", "d", "e"], "bulk", 1.5, at_most=2)
    assert [users for _, users, *_ in sent.messages] == [["a", "b"], ["c", "d"], ["e"]]
    assert {tuple(rest) for _, _, *rest in sent.messages} == {("bulk", "reconcile_bulk", 1500)}


def test_what_is_submitted_at_a_time_goes_into_one_message():
    sent = Sent()
    send(sent, "acme", [str(number) for number in range(USERS_A_MESSAGE)], "bulk")
    assert len(sent.messages) == 1

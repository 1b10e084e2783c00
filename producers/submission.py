"""What all producers share: naming users, and waiting for what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioning.model import Result, SourceUser
from provisioning.ports import SourceReader
from state.target_state import TargetState

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a person's word for a user stands for. uuid None: nobody, or several; `problem` says which."""

    word: str
    uuid: str | None
    user: SourceUser | None = None
    problem: str = ""


async def resolve(reader: SourceReader, word: str, states: Sequence[TargetState]) -> Resolved:
    """USER is a uid, uuid, name or e-mail address. A uuid that Drupal does not have but some target still has a
    link for is a user who is gone. Raises SourceUnreadable.
    """
    found = await reader.search(word)
    exact = [user for user in found if _names(user, word)]
    if len(exact) == 1:
        return Resolved(word, exact[0].uuid, exact[0])
    if len(exact) > 1:
        return Resolved(word, None, problem=f"{len(exact)} users answer to it; use the uid or uuid")
    for state in states:
        links = await state.links.get_many([word])
        if word in links:
            return Resolved(word, word)
    return Resolved(word, None, problem="no Drupal user has this uid, uuid, name or e-mail address")


def _names(user: SourceUser, word: str) -> bool:
    texts = (user.values.get("name"), user.values.get("mail"))
    if word in (str(user.uid), user.uuid) or word in texts:
        return True
    return any(text is not None and str(text).casefold() == word.casefold() for text in texts)


class WaitedTooLongError(Exception):
    """Not everybody's result came in time. results: those that did."""

    def __init__(self, results: Mapping[str, Result]) -> None:
        super().__init__("not finished in the time given")
        self.results = results


class TargetClosedError(Exception):
    """The target is paused or quarantined: waiting would be in vain."""

    def __init__(self, state: str, reason: str, results: Mapping[str, Result]) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.results = results


async def wait_for(
    state: TargetState, generations: Mapping[str, int], timeout_seconds: float
) -> Mapping[str, Result]:
    """Waits until each of these submissions has ended. Raises WaitedTooLongError, TargetClosedError."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        results = await state.ledger.results(generations)
        if len(results) == len(generations):
            return results
        health = await state.gate.health()
        if not health.open:
            raise TargetClosedError(health.state, health.reason, results)
        if time.monotonic() > deadline:
            raise WaitedTooLongError(results)
        await asyncio.sleep(POLL_SECONDS)

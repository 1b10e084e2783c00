"""What all producers share: naming users, and waiting for what became of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioning.model import Result, SourceUser
from provisioning.ports import SourceReader
from state.ledger import Ledger
from state.target_state import TargetState

# Results are told of as they are written; so often it is looked whether one was missed, or the target has closed.
LOOK_SECONDS = 1.0


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
    # Drupal compares uuids without case. Ours are as Drupal spells them: else one person would be two.
    if word == str(user.uid) or word.lower() == user.uuid.lower() or word in texts:
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
    # Before the first look: what is written between the two is seen, at worst twice.
    since = await state.ledger.last_told()
    results: dict[str, Result] = {}
    while True:
        results |= await state.ledger.results(_missing(generations, results))
        if len(results) == len(generations):
            return results
        health = await state.gate.health()
        if not health.open:
            raise TargetClosedError(health.state, health.reason, results)
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitedTooLongError(results)
        since = await _read_along(state.ledger, since, generations, results, min(left, LOOK_SECONDS))


async def _read_along(
    ledger: Ledger, since: str, generations: Mapping[str, int], results: dict[str, Result], seconds: float
) -> str:
    """Adds results as they are written, for so long or until none is missing. Gives where to read on from."""
    until = time.monotonic() + seconds
    while len(results) < len(generations) and (left := until - time.monotonic()) > 0:
        since, told = await ledger.told(since, left)
        missing = _missing(generations, results)
        results |= await ledger.results({user: missing[user] for user in told if user in missing})
    return since


def _missing(generations: Mapping[str, int], results: Mapping[str, Result]) -> Mapping[str, int]:
    return {user: generation for user, generation in generations.items() if user not in results}

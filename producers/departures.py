"""Who has left the site: as it concerns a target, and found by comparing ids where the source cannot count.

Whoever seems to have left is submitted, no more: the worker asks Drupal about each again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from provisioning.errors import SourceUnreadable
from provisioning.mapping import CompiledTarget
from provisioning.model import Link, UserRef
from provisioning.ports import SourceReader
from state.marks import Mark
from state.target_state import TargetState

# Looking for who has left takes at most this share of the time.
GONE_SHARE = 0.1
BATCH = 500

Marks = Mapping[str, Mark | None]


@dataclass(frozen=True, slots=True)
class Watched:
    """A target whose automatic trigger is on."""

    state: TargetState
    compiled: CompiledTarget
    digest_key: Callable[[], Awaitable[bytes]]

    @property
    def name(self) -> str:
        return self.state.target

    async def unsettled(self) -> set[str]:
        """Everybody whose leaving would have to be dealt with."""
        done = await self._done()
        users: set[str] = set()
        async for links in self.state.links.scan():
            users |= {user for user, link in links.items() if _matters(link, done)}
        return users

    async def concerned(self, users: Sequence[str]) -> tuple[str, ...]:
        """Those of the users whose leaving has to be dealt with. A worker that read one of them just before may be about to
        make an account; so who is being worked on is asked before the links are.
        """
        if not users:
            return ()
        done = await self._done()
        found: list[str] = []
        for start in range(0, len(users), BATCH):
            batch = users[start : start + BATCH]
            states = await self.state.ledger.states(batch)
            links = await self.state.links.get_many(batch)
            found += [
                user
                for user in batch
                if states.get(user) == "running" or (user in links and _matters(links[user], done))
            ]
        return tuple(found)

    async def _done(self) -> str:
        """The fingerprint of a link whose user has left, and that was dealt with."""
        return self.compiled.gone_fingerprint(await self.digest_key())


@dataclass(frozen=True, slots=True)
class Departed:
    """What is to be done on one target. left: users to submit. gone: everybody missing, for the mark to keep. joined: users who are
    new, where that is seen, though `changed` may be old: of a user brought from another site, say.
    """

    left: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    joined: tuple[str, ...] = ()


class Departures(Protocol):
    """Finds who has left since the last poll."""

    @property
    def before_all_else(self) -> bool:
        """Whether nobody may be submitted whom it has not seen."""

    @property
    def failing(self) -> str:
        """Why it could not look the last time that it was due; "" where it could."""

    async def find(self, marks: Marks, saved: Sequence[UserRef]) -> Mapping[str, Departed]:
        """By target. marks: by target; None is a new one: whoever left before is a full sync's business. saved: users that
        were saved since the last poll. Raises SourceUnreadable.
        """

    async def submitted(self) -> None:
        """Those found last have been submitted. Until this is said they are found again."""


class ListedDepartures:
    """Departures of a source that lists its users, and no more."""

    before_all_else = False
    failing = ""

    def __init__(
        self,
        watched: Sequence[Watched],
        reader: SourceReader,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._reader = reader
        self._monotonic = monotonic
        self._compare_after = float("-inf")

    async def find(self, marks: Marks, saved: Sequence[UserRef]) -> Mapping[str, Departed]:  # noqa: ARG002  # nobody leaves by being saved
        started = self._monotonic()
        due = started >= self._compare_after
        looked_at = [each for each in self._watched if due or marks[each.name] is None]
        try:
            gone = await missing(looked_at, self._reader)
            if looked_at:
                self.failing = ""
        except SourceUnreadable as error:
            self.failing = error.detail
            raise
        finally:
            # One that fails is no more often asked for.
            if due:
                self._compare_after = self._monotonic() + (self._monotonic() - started) / GONE_SHARE
        return {each.name: _departed(marks[each.name], gone.get(each.name)) for each in self._watched}

    async def submitted(self) -> None:
        """The marks keep who is gone."""


async def missing(watched: Sequence[Watched], reader: SourceReader) -> dict[str, frozenset[str]]:
    """By target, users who would have to be dealt with and are not in the listing of ids; nobody is read whole.

    Links first: who is linked was there before the listing began, and is in it unless they have left.
    """
    users: set[str] = set()
    for each in watched:
        users |= await each.unsettled()
    if users:
        async for page in reader.ids():
            users.difference_update(ref.uuid for ref in page)
    gone = sorted(users)
    return {each.name: frozenset(await each.concerned(gone)) for each in watched}


def not_looked_at(mark: Mark | None) -> Departed:
    return Departed(gone=mark.gone if mark else frozenset())


def _departed(mark: Mark | None, gone: frozenset[str] | None) -> Departed:
    if gone is None:
        return not_looked_at(mark)
    return Departed(() if mark is None else tuple(sorted(gone - mark.gone)), gone)


def _matters(link: Link, done: str) -> bool:
    return (link.has_account or link.in_doubt) and link.fingerprint != done

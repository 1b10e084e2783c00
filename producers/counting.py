"""Who has left a source that can count: found by a count of all users, and by reading the ids of ranges that differ.

They are compared with the roster, which is whom the site had before (state.roster). A target whose automatic trigger was
off meanwhile was told of nobody; it is compared by ids, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from producers.departures import GONE_SHARE, Departed, Marks, Watched, missing
from provisioning.model import Total, UserRef
from provisioning.ports import CountingReader
from state.roster import WIDTH, Page, RosterStore

# Pages read and written at a time: 20,000 users.
BATCH = 20


class CountedDepartures:
    """producers.departures.Departures. monotonic: seconds, of a clock that is never set."""

    before_all_else = True
    # It raises then, each time.
    failing = ""

    def __init__(
        self,
        watched: Sequence[Watched],
        reader: CountingReader,
        roster: RosterStore,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._reader = reader
        self._roster = roster
        self._monotonic = monotonic
        self._count_after = float("-inf")
        # Pages without those who have left, not to be written before these have been submitted.
        self._unwritten: dict[int, Page] = {}
        self._joined: set[str] = set()
        self._known: set[str] | None = None

    async def find(self, marks: Marks, saved: Sequence[UserRef]) -> Mapping[str, Departed]:
        told = (await self._roster.read()).targets
        behind = [each for each in self._watched if each.name not in told]
        self._unwritten, self._joined = {}, set()
        # Of a first roster everybody is new: that is a full sync's business.
        self._known = {ref.uuid for ref in saved} if told else None
        # Joined before they are submitted: an account is made only for a user whose leaving will be noticed.
        left = await self._compare(await self._unexpected(saved))
        if behind or self._monotonic() >= self._count_after:
            left |= await self._compare(await self._differing())
        late = await missing([each for each in behind if marks[each.name]], self._reader)
        new = tuple(sorted(self._joined))
        return {
            each.name: Departed(await _concerning(each, left, late), joined=new if each.name in told else ())
            if marks[each.name]
            else Departed()
            for each in self._watched
        }

    async def submitted(self) -> None:
        """Takes who has left off the roster. One that was changed meanwhile stays as it is, and is compared once more."""
        names = frozenset(each.name for each in self._watched)
        for batch in _batches(self._unwritten):
            await self._roster.write({number: self._unwritten[number] for number in batch})
        if names != (await self._roster.read()).targets:
            await self._roster.write({}, names)

    async def _unexpected(self, saved: Sequence[UserRef]) -> set[int]:
        """Pages without one of these users, or with another one under the same uid: some databases give a uid again."""
        by_page: dict[int, list[UserRef]] = {}
        for ref in saved:
            by_page.setdefault(ref.uid // WIDTH, []).append(ref)
        found: set[int] = set()
        for batch in _batches(by_page):
            for number, page in (await self._roster.pages(batch)).items():
                users = page.users()
                if any(users.get(ref.uid) != ref.uuid for ref in by_page[number]):
                    found.add(number)
        return found

    async def _differing(self) -> set[int]:
        """Pages whose total is another one by now. One small question, while nobody has come or gone."""
        started = self._monotonic()
        before = await self._roster.read()
        there: Mapping[int, Total] = before.totals
        if await self._reader.total() != before.total:
            there = await self._reader.totals(WIDTH)
        self._count_after = started + (self._monotonic() - started) / GONE_SHARE
        return {
            number
            for number in there.keys() | before.totals.keys()
            if there.get(number, Total()) != before.totals.get(number, Total())
        }

    async def _compare(self, numbers: Collection[int]) -> set[str]:
        """Those who have left these pages; brings all other pages up to date. What is written is what was read, so that
        whoever leaves after that makes the next count differ.
        """
        left: set[str] = set()
        for batch in _batches(numbers):
            joined: dict[int, Page] = {}
            for number, before in (await self._roster.pages(batch)).items():
                users = await self._reader.uuids(number * WIDTH, (number + 1) * WIDTH - 1)
                known = set(before.users().values())
                gone = known.difference(users.values())
                left |= gone
                new = set() if self._known is None else set(users.values()) - known - self._known
                self._joined |= new
                # Nor those who are to be submitted because of that.
                (self._unwritten if gone or new else joined)[number] = Page.of(users)
            await self._roster.write(joined)
        return left


async def _concerning(each: Watched, left: set[str], late: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """late: by target, those it was not told of when they left."""
    found = {*await each.concerned(sorted(left)), *late.get(each.name, ())}
    return tuple(sorted(found))


def _batches(numbers: Collection[int]) -> list[list[int]]:
    ordered = sorted(numbers)
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]

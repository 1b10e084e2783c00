"""Who is gone, found without reading every link: a scan counts the links of the users it sees, and in the end Redis is
asked, in one step, whether there is a link of anybody else.

Why that is enough. A user is counted whose link was there, and was not settled, when the scan came by. Everybody else whom
the scan sees (without a link, or with one that is settled) is remembered, as are users younger than the scan. If since the
scan began no link was dropped or settled, those counted still have theirs; then the links that are not settled are as many
as were counted, and as those remembered have by now, exactly if nobody else has one.

Where this does not come out, nothing is known yet: a worker has dropped a link, more users were without one than are
remembered, or somebody is gone indeed. Then all links are gone through, page by page, and Drupal is asked who of them is
there. What is found either way is only submitted: the worker asks Drupal once more.

The scan must see each user once, and does: uids ascend, and no two users of a site have the same uuid. Whoever leaves after
the scan has seen them is for the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from provisioning.model import SourceUser
from provisioning.ports import SourceReader
from state.links import LinkStore

# Users without a link who are remembered. In an initial load there are more, and few links to go through.
MOST_UNCOUNTED = 10_000
ASK = 500


@dataclass
class Attendance:
    """Of one scan. settled: the fingerprint of links whose user is gone and dealt with. left: LinkStore.left as it was
    before the first page was read. after: the uid up to which everybody was seen.
    """

    links: LinkStore
    reader: SourceReader
    settled: str
    left: int
    after: int
    _counted: int = 0
    _uncounted: list[str] = field(default_factory=list)
    _too_many: bool = False

    @classmethod
    async def begin(cls, links: LinkStore, reader: SourceReader, settled: str, after: int = 0) -> Self:
        return cls(links, reader, settled, await links.left(), after)

    def count(self, page: Sequence[SourceUser], prints: Sequence[str | None]) -> None:
        """prints: the fingerprints of these users' links, from after the page was read."""
        if not page:
            return
        self.after = max(self.after, page[-1].uid)
        counted = len(prints) - prints.count(None) - prints.count(self.settled)
        self._counted += counted
        if counted < len(prints):
            not_counted = {None, self.settled}
            self._remember(
                user.uuid for user, known in zip(page, prints, strict=True) if known in not_counted
            )

    def _remember(self, users: Iterable[str]) -> None:
        if not self._too_many:
            self._uncounted += users
        if len(self._uncounted) > MOST_UNCOUNTED:
            self._too_many = True
            self._uncounted.clear()

    async def gone(self) -> AsyncIterator[Sequence[str]]:
        """Users with a link that is not settled, whom the site does not have any more; page by page, also empty ones,
        because it may take long. Raises SourceUnreadable.
        """
        if await self._complete():
            return
        async for users in self.links.unsettled(self.settled):
            for start in range(0, len(users), ASK):
                asked = users[start : start + ASK]
                there = await self.reader.present(asked)
                yield [user for user in asked if user not in there]

    async def _complete(self) -> bool:
        async for refs in self.reader.ids(self.after):
            self._remember(ref.uuid for ref in refs)
        return await self.links.nobody_else(self.settled, self.left, self._counted, self._uncounted)

"""Who waits to send a request: two rows, and whoever waits for a person is in the first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

# Set in the tasks of users for whom a person waits.
URGENT: ContextVar[bool] = ContextVar("URGENT", default=False)


class Waiting:
    """Turns to come, first come first served in each row. Those who have given up are passed over."""

    def __init__(self) -> None:
        self._urgent: deque[asyncio.Future[float]] = deque()
        self._others: deque[asyncio.Future[float]] = deque()

    def __len__(self) -> int:
        """At most."""
        return len(self._urgent) + len(self._others)

    def join(self) -> asyncio.Future[float]:
        """Gives the moment it is let go with."""
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        (self._urgent if URGENT.get() else self._others).append(turn)
        return turn

    @property
    def anybody(self) -> bool:
        return self._row() is not None

    @property
    def urgent(self) -> bool:
        return self._row() is self._urgent

    def let_go(self, moment: float) -> bool:
        """The next one. False: there is none."""
        row = self._row()
        if row is None:
            return False
        row.popleft().set_result(moment)
        return True

    def refuse(self, error: Callable[[], Exception]) -> None:
        """All of them, each with an error of its own."""
        while (row := self._row()) is not None:
            row.popleft().set_exception(error())

    def _row(self) -> deque[asyncio.Future[float]] | None:
        for row in (self._urgent, self._others):
            while row and row[0].done():
                row.popleft()
            if row:
                return row
        return None

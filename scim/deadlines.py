"""An end for each of many requests under way, all of the same length, with one timer for all: a timer for each costs a tenth
of what the request does.
"""

from __future__ import annotations

import asyncio


class Deadlines:
    """seconds: how long each may take."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order they began, which is the order they end in.
        self._due: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Timeout:
        """To be entered at once, and given to `end` whatever comes of it. Raises TimeoutError once the time is over."""
        loop = asyncio.get_running_loop()
        timeout = asyncio.timeout(None)
        self._due[timeout] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._look)
        return timeout

    def end(self, timeout: asyncio.Timeout) -> None:
        self._due.pop(timeout, None)

    def _look(self) -> None:
        """Ends whoever is late, and waits for the next one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for timeout, due in list(self._due.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[timeout]
            timeout.reschedule(loop.time())

"""A dramatiq consumer that waits to be woken, where dramatiq's own sleeps and looks again.

When a fetch finds nothing it blocks on the queue's list (`BLMOVE queue queue LEFT LEFT`: Redis answers as soon as there is
something, and leaves it where it is) and then fetches as ever. So a message is picked up at once, and an idle worker costs
next to nothing. The wait is a hint, as the queue itself is: where it fails, the consumer looks again in a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.middleware import Middleware

# The longest wait. Each fetch also tells the other workers that this one is alive, which they believe for 60 s.
WAIT_SECONDS = 5.0
# How soon a waiting consumer notices that the worker is to end.
NOTICE_SECONDS = 1.0
# An answer this late will not come: the connection is broken, or Redis hangs.
LATE_SECONDS = 5.0
# Between two looks where waiting is not possible; dramatiq's own longest sleep.
LOOK_SECONDS = 1.0
# While the worker ends, its consumers have nothing to do but to be told so.
ENDING_SECONDS = 0.1


class WakingBroker(RedisBroker):
    """dramatiq's, with consumers that wait. ending: set when the worker is to end; nothing is fetched from then on."""

    def __init__(self, middleware: Sequence[Middleware], **options: Any) -> None:
        self.ending = threading.Event()
        every = [*middleware, _Ending(self.ending)]
        super().__init__(middleware=every, **options)  # type: ignore[no-untyped-call]  # dramatiq has not typed it

    @property
    def consumer_class(self) -> type[WakingConsumer]:
        return WakingConsumer


class _Ending(Middleware):
    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        self._ending.set()


class WakingConsumer(_RedisConsumer):
    """One queue's. Used by its own thread; `ack` and `nack` by others too."""

    broker: WakingBroker

    def __init__(self, broker: WakingBroker, queue_name: str, prefetch: int, timeout: int) -> None:  # noqa: ARG002
        # With no timeout dramatiq's consumer does not sleep when it has found nothing.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]  # as above
        self._list = f"{broker.namespace}:{queue_name}"
        # Set when a message is done with: there is room for another.
        self._room = threading.Event()
        # Of the delayed messages in this worker's hands: when each is due, in ms.
        self._due: dict[str, int] = {}

    def __next__(self) -> dramatiq.MessageProxy | None:
        """A message; None after a wait, whether something came or not."""
        if self.broker.ending.is_set():
            time.sleep(ENDING_SECONDS)
            return None
        message: dramatiq.MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]  # as above
        if message is None:
            self._wait()
        elif isinstance(due := message.options.get("eta"), int):
            self._due[message.message_id] = due
        return message

    def ack(self, message: dramatiq.MessageProxy) -> None:
        try:
            super().ack(message)  # type: ignore[no-untyped-call]  # as above
        finally:
            self._done_with(message)

    def nack(self, message: dramatiq.MessageProxy) -> None:
        try:
            super().nack(message)  # type: ignore[no-untyped-call]  # as above
        finally:
            self._done_with(message)

    def _done_with(self, message: dramatiq.MessageProxy) -> None:
        self._due.pop(message.message_id, None)
        self._room.set()

    def _wait(self) -> None:
        self._room.clear()
        if self.outstanding_message_count >= self.prefetch:
            self._room.wait(NOTICE_SECONDS)
            return
        try:
            self._wait_for_a_message(self._seconds())
        except redis.RedisError:
            # The fetch that follows tells whether Redis is there at all.
            time.sleep(LOOK_SECONDS)

    def _seconds(self) -> float:
        """How long to wait: no longer than until the next delayed message is due."""
        if not self._due:
            return WAIT_SECONDS
        return min(WAIT_SECONDS, max(0.001, (min(self._due.values()) - current_millis()) / 1000))

    def _wait_for_a_message(self, seconds: float) -> None:
        """Raises what redis-py raises. 0 would be for ever: seconds is more."""
        pool = self.broker.client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command("BLMOVE", self._list, self._list, "LEFT", "LEFT", seconds)
            deadline = time.monotonic() + seconds + LATE_SECONDS
            while not connection.can_read(NOTICE_SECONDS):
                if self.broker.ending.is_set() or time.monotonic() > deadline:
                    # What it still may say would be taken for the answer to something else.
                    connection.disconnect()
                    return
            connection.read_response()
        finally:
            pool.release(connection)

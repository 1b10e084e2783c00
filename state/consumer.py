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
from dramatiq.errors import ConnectionClosed
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


class RedisUnreachable(ConnectionClosed):
    """Its name is all that dramatiq's log line shows of it: whose connection it is, for whoever reads that line."""


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
        self._wait: _Wait | None = None
        # Set when a message is done with: there is room for another.
        self._room = threading.Event()
        # Of the delayed messages in this worker's hands: when each is due, in ms.
        self._due: dict[str, int] = {}

    def __next__(self) -> dramatiq.MessageProxy | None:
        """A message, or None after a second at most: then the worker looks whether it is to end, and what is due."""
        if self._wait is not None and not self._woken(self._wait):
            return None
        if self.broker.ending.is_set():
            time.sleep(ENDING_SECONDS)
            return None
        try:
            message: dramatiq.MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]  # as above
        except ConnectionClosed as error:
            raise RedisUnreachable(error) from None  # type: ignore[no-untyped-call]  # as above
        if message is None:
            self._begin_to_wait()
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

    def close(self) -> None:
        if self._wait is not None:
            self._wait.give_up()
            self._wait = None

    def _done_with(self, message: dramatiq.MessageProxy) -> None:
        self._due.pop(message.message_id, None)
        self._room.set()

    def _begin_to_wait(self) -> None:
        self._room.clear()
        if self.outstanding_message_count >= self.prefetch:
            self._room.wait(NOTICE_SECONDS)
            return
        try:
            self._wait = _Wait(
                self.broker.client.connection_pool, f"{self.broker.namespace}:{self.queue_name}"
            )
        except redis.RedisError:
            time.sleep(LOOK_SECONDS)

    def _woken(self, wait: _Wait) -> bool:
        """Whether it is time to fetch again."""
        try:
            if not wait.over(self._seconds()):
                return False
        except redis.RedisError:
            # The fetch that follows tells whether Redis is there at all.
            wait.give_up()
            time.sleep(LOOK_SECONDS)
        self._wait = None
        return True

    def _seconds(self) -> float:
        """No longer than until the next delayed message is due."""
        if not self._due:
            return NOTICE_SECONDS
        return min(NOTICE_SECONDS, max(0.001, (min(self._due.values()) - current_millis()) / 1000))


class _Wait:
    """A wait for something in a list, under way on a connection of its own. Raises what redis-py raises."""

    def __init__(self, pool: redis.ConnectionPool, name: str) -> None:
        self._pool = pool
        self._connection: Any = pool.get_connection()
        self._late_at = time.monotonic() + WAIT_SECONDS + LATE_SECONDS
        try:
            self._connection.send_command("BLMOVE", name, name, "LEFT", "LEFT", WAIT_SECONDS)  # type: ignore[no-untyped-call]  # redis-py has not typed it
        except BaseException:
            self.give_up()
            raise

    def over(self, seconds: float) -> bool:
        """Waits so long for it to be over; it is when something came, and after WAIT_SECONDS."""
        if self._connection.can_read(seconds):
            self._connection.read_response()
            self._pool.release(self._connection)
            return True
        if time.monotonic() < self._late_at:
            return False
        raise redis.TimeoutError

    def give_up(self) -> None:
        # What it still may say would be taken for the answer to something else.
        self._connection.disconnect()
        self._pool.release(self._connection)

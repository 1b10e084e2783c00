from __future__ import annotations

import dramatiq
import structlog
from dramatiq.brokers.stub import StubBroker

from workers.middleware import Lifecycle


def test_a_worker_fetches_no_more_than_its_threads_can_do():
    broker = StubBroker(middleware=[])
    worker = dramatiq.Worker(broker, worker_threads=3)
    Lifecycle(structlog.get_logger()).before_worker_boot(broker, worker)
    broker.declare_queue("bulk")
    worker._add_consumer("bulk")
    consumer = worker.consumers["bulk"]
    # Left running, it would look for its queue beside every test that follows.
    consumer.stop()
    consumer.join()
    assert consumer.prefetch == 3

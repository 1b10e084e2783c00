from __future__ import annotations

import dramatiq
import structlog
from dramatiq.brokers.stub import StubBroker

from workers.middleware import Lifecycle


def test_a_worker_fetches_no_more_than_its_threads_can_do():
    broker = StubBroker(middleware=[])
    worker = dramatiq.Worker(broker, worker_threads=3)
    Lifecycle(structlog.get_logger()).before_worker_boot(broker, worker)
    worker._add_consumer("bulk")
    assert worker.consumers["bulk"].prefetch == 3

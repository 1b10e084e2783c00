"""One poll of change detection, on a real Valkey: what goes wrong is told, also while workers read Drupal."""

from __future__ import annotations

from types import SimpleNamespace

import structlog
from structlog.testing import capture_logs

from producers.main import poll_once
from provisioning.errors import SourceUnreadable
from state.gate import Gate
from state.keys import SOURCE
from state.polls import Polls
from state.processes import Leadership
from tests.support.valkey import with_redis


def test_polls_that_fail_while_workers_read_are_told_once_and_shown(redis_url):
    async def fails() -> None:
        raise SourceUnreadable("a page is incomplete")

    async def ends() -> None: ...

    async def body(client):
        gate, polls, leadership = Gate(client, SOURCE), Polls(client), Leadership(client, "changes", "here")
        detection = SimpleNamespace(poll=fails, departures=SimpleNamespace(failing=""))
        with capture_logs() as logged:
            opened = SimpleNamespace(source_gate=gate, redis=client, log=structlog.get_logger())
            for _ in range(20):
                await poll_once(opened, leadership, detection)
                await gate.worked()
        assert [(line["event"], line["log_level"]) for line in logged] == [("source_unreadable", "warning")]
        assert (await gate.health()).open
        assert (await polls.read()).reason == "a page is incomplete"
        detection.poll, detection.departures.failing = ends, "502 to a listing"
        await poll_once(opened, leadership, detection)
        assert (await polls.read()).reason == "502 to a listing", "which is asked for now and then only"
        detection.departures.failing = ""
        await poll_once(opened, leadership, detection)
        assert (await polls.read()).failing_since is None

    with_redis(redis_url, body)

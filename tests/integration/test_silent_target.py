"""A target that takes connections and never answers, behind real HTTP: left alone as soon as that is plain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import structlog

from config.settings import LimitSettings, Secret, Trigger
from provisioning.errors import AmbiguousWrite, Transient
from provisioning.ports import Ports
from scim.target import open_target
from scim.transport import SENT, SHARED, TOLD
from state.gate import FAILURES
from state.ledger import INTERACTIVE
from tests.support.batches import USERS as SOME
from tests.support.batches import World
from tests.support.valkey import with_redis
from workers.batch import Batch
from workers.concurrency import Concurrency
from workers.throttle import Throttle

TIMEOUT_SECONDS = 0.5
USERS = [f"0e000000-0000-4000-8000-{number:012d}" for number in range(60)]


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    writer.close()


async def answer_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Nobody is found; writes hang."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    body = b'{"totalResults": 0, "Resources": []}'
    while line := await reader.readline():
        while (await reader.readline()).strip():
            pass
        if not line.startswith(b"GET"):
            await say_nothing(reader, writer)
            return
        writer.write(head % (len(body), body))
    writer.close()


@pytest.mark.parametrize("served", [say_nothing, answer_reads], ids=["nothing", "reads"])
def test_whoever_waits_for_a_target_that_answers_nobody_goes_back_at_once(redis_url, tmp_path, served):
    """Else each waits for a time-out of its own, one after the other, and keeps the worker from all other targets."""
    token = tmp_path / "token"
    token.write_text("token")

    async def body(client):
        server = await asyncio.start_server(served, "127.0.0.1", 0)
        world = World(client)
        changed = {
            "base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "token": Secret(file=token),
            "limits": LimitSettings(timeout_seconds=TIMEOUT_SECONDS),
        }
        settings = world.work.settings.model_copy(update=changed)
        target = open_target(settings, limiter=Throttle(Concurrency(32)))
        before = world.work.reconciler
        ports = Ports(world.site, target, world.state.links, world.state.guard, before.ports.rewritten)
        reconciler = replace(before, ports=ports)
        work = replace(world.work, settings=settings, target=target, reconciler=reconciler)
        for user in USERS:
            world.site.add(user, name=user)
        await world.state.submit(USERS, Trigger.MANUAL)
        log = structlog.get_logger()
        batch = Batch(work, world.site, world.same_site, world.source_gate, "w", log, world.stopping)
        async with asyncio.timeout(len(USERS) * TIMEOUT_SECONDS / 5):
            await batch.run(USERS, INTERACTIVE)
        assert (await world.state.gate.health()).state == "quarantined"
        assert (await world.state.ledger.counts()).pending == len(USERS)
        if served is say_nothing:
            assert target.requests < len(USERS) / 2
        await target.close()
        server.close()

    with_redis(redis_url, body)


@pytest.mark.parametrize(
    ("status", "others", "state"), [(None, SHARED, "ok"), (504, SHARED, "ok"), (500, TOLD, "quarantined")]
)
def test_a_bulk_request_without_an_answer_is_one_however_many_share_it(redis_url, status, others, state):
    """But not where each was told of their own failure."""

    async def body(client):
        world = World(client)
        kinds = iter(["POST", *[others] * (len(SOME) - 1)])

        def lost(verb):
            if verb != "create":
                return None
            SENT.get().append(next(kinds))
            return AmbiguousWrite("no answer", status_code=status)

        world.target.before = lost
        await world.submit()
        await world.batch.run(SOME, INTERACTIVE)
        assert (await world.state.ledger.counts()).pending == len(SOME)
        assert (await world.state.gate.health()).state == state

    with_redis(redis_url, body)


def test_an_outage_of_writes_alone_costs_one_user_an_attempt_each_time_it_is_tried(redis_url):
    """Reads work, as on a database that is read-only for an hour: the probe ends the quarantine, and each time all of a message
    spent an attempt. After a few minutes everybody would be a dead letter.
    """

    async def body(client):
        world = World(client)
        world.target.before = lambda verb: Transient("500", status_code=500) if verb == "create" else None
        await world.submit()
        await world.another_batch().run(SOME, INTERACTIVE)
        assert (await world.state.gate.health()).state == "quarantined"
        for _ in range(3):
            await world.state.gate.recover()
            await world.submit()
            before = world.target.requests.count("create")
            await world.another_batch().run(SOME, INTERACTIVE)
            assert world.target.requests.count("create") == before + 1
            assert (await world.state.gate.health()).state == "quarantined"
        world.target.before = lambda verb: None
        await world.state.gate.recover()
        await world.submit()
        for _ in range(2):
            await world.another_batch().run(SOME, INTERACTIVE)
        assert len(world.target.accounts) == len(SOME)

    with_redis(redis_url, body)


def test_a_target_is_tried_with_somebody_of_whom_it_is_asked(redis_url):
    """Not with whoever another worker has, and not with one over whom it is never asked anything."""

    async def body(client):
        world = World(client)
        world.site.edit(SOME[0], name=None)
        await world.submit()
        await world.state.ledger.claim(SOME[1:3], "another", 30)
        for _ in range(FAILURES - 1):
            await world.state.gate.failed("500", certain=False)
        await world.another_batch().run(SOME[:1], INTERACTIVE)
        assert (await world.state.gate.health()).careful
        await world.another_batch().run(SOME[1:], INTERACTIVE)
        assert (world.target.requests.count("create"), world.sent.messages[-1][0]) == (1, SOME[4:])
        assert not (await world.state.gate.health()).careful

    with_redis(redis_url, body)


def test_dead_letters_of_a_target_that_is_down_close_it_for_the_others(redis_url):
    """Whoever was at the last attempt ended the run of failures: all of them became dead letters, one after the other."""

    async def body(client):
        world = World(client)
        once = world.work.settings.model_copy(update={"limits": LimitSettings(max_attempts=1)})
        reconciler = replace(world.work.reconciler, settings=once)
        world.work = replace(world.work, settings=once, reconciler=reconciler)
        world.target.before = lambda verb: Transient("502", status_code=502) if verb == "create" else None
        await world.submit()
        await world.another_batch().run(SOME, INTERACTIVE)
        assert (await world.state.gate.health()).state == "quarantined"

    with_redis(redis_url, body)

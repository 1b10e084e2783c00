"""Users who changed, here and there on a site, are submitted together; and a scan that stops has lost none of them."""

from __future__ import annotations

import pytest

from producers import findings
from tests.support.scanning import USERS, with_scanned_site

# One on each page of five.
CHANGED = USERS[1::5]


@pytest.fixture
def world(redis_url):
    def run(body):
        async def edited(world):
            for user in CHANGED:
                world.site.edit(user, name=f"new {user}")
            await body(world)

        with_scanned_site(redis_url, edited)

    return run


async def _counted(world, run_id):
    run = await world.state.runs.get(run_id)
    return run.cursor, run.counters["scanned"], run.counters["unchanged"]


async def _stopped(world):
    """The run of a scan that fails before its fourth page."""

    async def stop():
        raise ConnectionError

    world.site.meanwhile = {3: stop}
    with pytest.raises(ConnectionError):
        await world.run_sync()
    return await world.state.runs.last()


def test_those_of_several_pages_go_in_one_message(world):
    async def body(world):
        run = await world.run_sync()
        assert world.sent.messages == [CHANGED]
        assert await _counted(world, run.run_id) == (20, 20, 16)

    world(body)


def test_nobody_waits_long_for_the_pages_that_follow(world, monkeypatch):
    monkeypatch.setattr(findings, "GATHER_SECONDS", 0)

    async def body(world):
        await world.run_sync()
        assert world.sent.messages == [[user] for user in CHANGED]

    world(body)


def test_as_many_as_are_submitted_in_one_call_wait_for_nobody(world, monkeypatch):
    monkeypatch.setattr(findings, "SUBMIT", 2)

    async def body(world):
        await world.run_sync()
        assert world.sent.messages == [CHANGED[:2], CHANGED[2:]]

    world(body)


def test_a_scan_that_stops_before_they_are_submitted_finds_them_again_and_counts_nobody_twice(world):
    async def body(world):
        # The first page has nobody.
        world.site.edit(CHANGED[0], name="user1")

        last = await _stopped(world)
        assert (world.sent.users, await _counted(world, last.run_id)) == ([], (5, 5, 5))
        assert (await world.run_sync()).run_id == last.run_id
        assert world.sent.messages == [CHANGED[1:]]
        assert await _counted(world, last.run_id) == (20, 20, 17)

    world(body)


def test_a_scan_that_stops_after_some_were_submitted_goes_on_from_there(world, monkeypatch):
    monkeypatch.setattr(findings, "SUBMIT", 2)

    async def body(world):
        last = await _stopped(world)
        assert await _counted(world, last.run_id) == (10, 10, 8)
        await world.run_sync()
        assert world.sent.messages == [CHANGED[:2], CHANGED[2:]]
        assert await _counted(world, last.run_id) == (20, 20, 16)

    world(body)

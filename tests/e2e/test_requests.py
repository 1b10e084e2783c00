"""As few requests as the protocol permits: counted by a proxy between real processes and a real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.report import Report
from tests.faults.world import World, world

PEOPLE = 60


@pytest.fixture
def running(tmp_path, report: Report) -> Iterator[World]:
    with world(tmp_path, report, seed=4, people=PEOPLE, timeout=20) as made:
        made.running.start("worker")
        made.running.workers_ready()
        yield made


@pytest.fixture
def report(tmp_path) -> Report:
    return Report(tmp_path / "report.jsonl")


def asked(made: World) -> Counter[str]:
    """What was asked since the last call, in a request of its own or within a Bulk request: the more of these there are, the
    fewer requests were sent.
    """
    new = made.proxy.record.exchanges[made.judged :]
    made.judged = len(made.proxy.record.exchanges)
    return Counter(f"{each.method} {each.path.split('/')[1]}" for each in new if each.path != "/Bulk")


def test_a_load_costs_one_request_a_user_an_edit_one_and_nothing_none(running):
    synced = running.running.run("sync")
    # The administrator is one of them.
    assert synced["created"] == PEOPLE + 1
    counted = asked(running)
    assert counted["POST Users"] == PEOPLE + 1
    # The listing, and its end, once for each worker process that met a few of them.
    assert counted["GET Users"] <= 6, counted

    synced = running.running.run("sync")
    assert (synced["unchanged"], synced["requests"]) == (PEOPLE + 1, 0)
    assert not asked(running)

    for uuid in running.there()[:10]:
        running.edit(uuid)
    assert running.running.run("sync")["updated"] == 10
    assert asked(running) == {"PATCH Users": 10}


def test_accounts_that_are_there_are_found_also_under_another_name(running):
    """What a Redis that was lost, or another tool, has left: the externalId is theirs, the name an older one."""
    there = running.there()[:20]
    for uuid in there:
        body = {"userName": f"old-{uuid[:8]}", "externalId": uuid, "schemas": [CORE]}
        running.running.http("POST", "main", "/Users", json=body)
    synced = running.running.run("sync")
    assert (synced["updated"], synced["created"]) == (20, PEOPLE + 1 - 20)
    accounts = running.running.accounts("main")
    assert len(accounts) == PEOPLE + 1
    assert {accounts[uuid]["userName"] for uuid in there} == {running.people[uuid].name for uuid in there}


CORE = "urn:ietf:params:scim:schemas:core:2.0:User"

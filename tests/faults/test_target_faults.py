"""A target that does everything wrong: when it is well again, one more sync, and it equals the site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.record import Exchange
from tests.faults.report import Report, full_only
from tests.faults.target_faults import FAULTS
from tests.faults.world import World, world
from tests.support.scripted_target import Answer, ScriptedTarget

SEED = 20261124
SHARE = 0.25
SLOW = {"stall_before": 0.05, "stall_after": 0.05, "late": 0.15, "huge": 0.1}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Iterator[World]:
    """One world for all: what a scenario leaves behind is the next one's beginning."""
    with world(tmp_path_factory.mktemp("faults"), report, SEED) as made:
        made.running.start("worker", "scheduler", "changes")
        made.running.workers_ready()
        made.settle("no faults")
        yield made


def through(
    made: World,
    name: str,
    begin: Callable[[], object],
    seconds: float = 3.0,
    enough: Callable[[], bool] = lambda: True,
) -> None:
    """People come and go, by all triggers, while the faults are on: so long, and until there was enough of them. (How many
    requests there are meanwhile depends on the machine.)
    """
    begin()
    made.turmoil()
    deadline = time.monotonic() + seconds
    made.running.run("provision", *made.random.sample(made.there(), 3), "--no-wait", code=None)
    made.running.run("sync", "--no-wait", code=None)
    while time.monotonic() < deadline or not enough():
        time.sleep(0.2)
        if time.monotonic() > deadline:
            made.turmoil()
            made.running.run("sync", "--no-wait", code=None)
    made.turmoil()
    made.running.run("sync", "--verify", "--timeout", "3", code=None)
    made.settle(name)


@pytest.mark.timeout(300)
def test_everything_at_once(calm):
    def begin() -> None:
        calm.proxy.weights = {name: 0.03 if name not in SLOW else 0.005 for name in FAULTS}
        calm.proxy.lag_seconds = 1.5

    def enough() -> bool:
        return len(calm.proxy.record.faults()) > 8

    through(calm, "everything at once", begin, 6.0, enough)
    assert enough()


@pytest.mark.timeout(200)
def test_lost_answers_while_the_search_lags(calm):
    """The worst for duplicates: accounts are made, nobody hears of it, and they are not found when looked for."""

    def begin() -> None:
        calm.proxy.weights = {"reset_after": 0.5}
        calm.proxy.lag_seconds = 2.5

    through(calm, "lost answers, search lags", begin)


@pytest.mark.timeout(200)
def test_bulk_requests_of_which_everything_can_be_lost(calm):
    def begin() -> None:
        # After a few that are lost, or half, there is no Bulk for a minute, which would have to be waited for.
        calm.proxy.weights = {
            "bulk_lost": 0.1,
            "bulk_half": 0.15,
            "bulk_shuffled": 0.35,
            "bulk_too_large": 0.4,
        }
        calm.turmoil(4)

    before = len(calm.proxy.record.exchanges)

    def faults() -> set[str | None]:
        return {each.fault for each in calm.proxy.record.exchanges[before:] if each.operation} - {None}

    through(calm, "Bulk: lost, half answered, shuffled, too large", begin, enough=lambda: len(faults()) > 2)
    assert len(faults()) > 2, faults()


@pytest.mark.timeout(200)
def test_updates_that_are_carried_out_when_they_have_been_given_up(calm):
    """They are older than what is wanted by then. This server has ETags and refuses them; for the sake of those that have none,
    nobody asks for these users before that.
    """
    # So few that their failures do not close the target before all are sent.
    users = [uuid for uuid in calm.there() if calm.people[uuid].due][:3]
    before = len(calm.proxy.record.exchanges)

    def move(department: str) -> None:
        for uuid in users:
            calm.people[uuid].department = department
            calm.running.site.edit(uuid, department=department)

    def sent() -> dict[str | None, Exchange]:
        return {each.user: each for each in calm.proxy.record.exchanges[before:] if each.method == "PATCH"}

    calm.proxy.weights = {"late": 1.0}
    move("moved")
    calm.running.until(lambda: sent().keys() >= {*users})
    late = sent()
    calm.proxy.weights = {}
    move("moved again")
    # A person does not hurry this either.
    calm.running.run("provision", *users[:2], "--no-wait")
    calm.settle("updates carried out late")
    early = [
        each
        for each in calm.proxy.record.exchanges[before:]
        if each.user in late and late[each.user].began < each.began < late[each.user].ended
    ]
    assert not early, early[:3]


@full_only
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault(calm, fault):
    def begin() -> None:
        calm.proxy.weights = {fault: SLOW.get(fault, SHARE)}

    through(calm, fault, begin)


@pytest.mark.timeout(200)
def test_a_redirect_to_another_host_carries_nothing_there(calm):
    with ScriptedTarget(lambda _: Answer(200, {})) as elsewhere:

        def begin() -> None:
            calm.proxy.redirect = elsewhere.base_url

        through(calm, "redirect to another host", begin)
        assert elsewhere.requests == []


@full_only
@pytest.mark.timeout(200)
@pytest.mark.parametrize("state", ["refusing", "unauthorized", "filters_ignored", "lag", "bucket"])
def test_a_state_of_the_target(calm, state):
    def begin() -> None:
        match state:
            case "refusing":
                calm.proxy.refuse(on=True)
            case "unauthorized":
                calm.proxy.unauthorized = True
            case "filters_ignored":
                calm.proxy.filters_ignored = True
            case "lag":
                calm.proxy.lag_seconds = 3.0
            case "bucket":
                calm.proxy.bucket = 15.0

    through(calm, state, begin)

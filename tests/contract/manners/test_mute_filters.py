"""DESIGN 5.3: a filter on externalId that answers an empty list for a user who exists; over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import pytest

from config.settings import OperationName, Trigger
from provisioning.errors import Unanswered
from provisioning.mapping import compile_target
from provisioning.model import Job, Result
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from tests.support.fakes import FakeGuard, FakeLinks, FakeRewritten, FakeSite, HeldLease
from tests.support.manners import listing, page
from tests.support.opened_target import with_target
from tests.support.reconciling import ANNA, KEY, settings
from tests.support.scripted_target import Answer, Request, ScriptedTarget

ACCOUNT = {"id": "1", "userName": "anna", "externalId": ANNA, "active": True}
# Somebody else's, and the first ones that are listed.
OTHERS = [{"id": f"admin-{number}", "userName": f"admin{number}"} for number in range(25)]


class Target:
    """mute: the externalId filter finds nobody. most: accounts it lists; more are said to be there."""

    def __init__(self, *accounts: dict[str, Any], mute: bool = True, most: int = 1000) -> None:
        self.accounts = [dict(each) for each in accounts]
        self.mute, self.most = mute, most
        self._ids = itertools.count(100)

    def __call__(self, request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(404)
        if request.method == "POST":
            made = {**request.body, "id": str(next(self._ids))}
            self.accounts.append(made)
            return Answer(201, made)
        if request.method == "PATCH":
            (account,) = [each for each in self.accounts if request.path.endswith(each["id"])]
            account |= {each["path"]: each["value"] for each in request.body["Operations"]}
            return Answer(body=account)
        if "filter" not in request.query:
            return page(request, self.accounts[: self.most], 20, total=len(self.accounts))
        name, _, value = request.query["filter"].split(" ")
        silent = self.mute and name == "externalId"
        return listing(*[each for each in self.accounts if f'"{each.get(name)}"' == value and not silent])


def worked_on(server: ScriptedTarget, site: FakeSite, links: FakeLinks) -> Result:
    wanted = settings()

    async def body(target: Any) -> Result:
        ports = Ports(site, target, links, FakeGuard(), FakeRewritten())
        reconciler = Reconciler(wanted, compile_target(wanted), KEY, ports, lambda: 0.5)
        users, job = await site.read([ANNA]), Job("acme", ANNA, {Trigger.MANUAL: None}, 1)
        return await reconciler.reconcile(job, users.get(ANNA), links.links.get(ANNA), HeldLease())

    return with_target(server.base_url, body, mapping=wanted.mapping)


@pytest.mark.parametrize("left", ["blocked", "gone"])
def test_a_leaver_whom_nobody_remembers_is_found_all_the_same(left):
    """As after Redis was emptied. There is no create whose 409 would contradict the search."""
    site, target = FakeSite(), Target(*OTHERS, ACCOUNT)
    if left == "blocked":
        site.add(ANNA, name="anna", status=False)
    with ScriptedTarget(target) as server:
        result = worked_on(server, site, FakeLinks())
    assert (result.operation, result.scim_id) == (OperationName.DEACTIVATE, "1")
    assert target.accounts[-1]["active"] is False


def test_who_was_renamed_after_a_lost_create_gets_no_second_account():
    site, links = FakeSite(), FakeLinks()
    site.add(ANNA, name="anna")
    target = Target(*OTHERS)
    with ScriptedTarget(target) as server:
        worked_on(server, site, links)
        links.links[ANNA] = links.links[ANNA]._replace(scim_id="").doubting(["userName"])
        site.edit(ANNA, name="anne")
        worked_on(server, site, links)
    assert [each["userName"] for each in target.accounts if each not in OTHERS] == ["anne"]


@pytest.mark.parametrize("mute", [True, False])
def test_a_target_is_put_to_the_test_once(mute):
    async def body(target: Any) -> list[Any]:
        return [await target.find("externalId", "nobody", certain=True) for _ in range(3)]

    with ScriptedTarget(Target(*OTHERS, ACCOUNT, mute=mute)) as server:
        assert with_target(server.base_url, body) == [[]] * 3
    assert [request.query.get("count") for request in server.requests].count("200") == (4 * 2 if mute else 2)
    assert [request.query.get("filter") for request in server.requests].count(f'externalId eq "{ANNA}"') == 1


def test_a_target_too_slow_for_a_large_page_is_put_to_the_test_with_a_small_one():
    """Else whoever left, and may have an account that nobody remembers, waits for ever."""
    site, target = FakeSite(), Target(ACCOUNT, *OTHERS, mute=False)
    site.add(ANNA, name="anna", status=False)
    asked: list[str] = []

    def slow(request: Request) -> Answer:
        if "filter" in request.query:
            # Once: afterwards it is found.
            asked.append(request.query["filter"])
            return listing() if len(asked) == 1 else target(request)
        return Answer(silent=True) if int(request.query.get("count", 0)) > 20 else target(request)

    with ScriptedTarget(slow) as server:
        worked_on(server, site, FakeLinks())
    assert [
        request.query["count"]
        for request in server.requests
        if "filter" not in request.query and "count" in request.query
    ] == ["20"]


def test_where_no_listing_is_answered_nobody_waits_for_the_timeouts_of_all_the_others():
    """One after the other, a message of users in doubt would take hours, and so would a person's who comes then."""
    most, under_way, lock = 0, 0, threading.Lock()

    def slow(request: Request) -> Answer:
        nonlocal most, under_way
        if "filter" in request.query or request.path != "/Users":
            return listing()
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.5)
        with lock:
            under_way -= 1
        return Answer(silent=True)

    async def body(target: Any) -> list[Any]:
        asked = [target.find("externalId", f"nobody{number}", certain=True) for number in range(8)]
        return await asyncio.gather(*asked, return_exceptions=True)

    with ScriptedTarget(slow) as server:
        found = with_target(server.base_url, body, timeout_seconds=0.3)
    assert {type(each) for each in found} == {Unanswered}
    # All but the first, whose answer they have waited for.
    assert most >= 7


def test_a_listing_that_cannot_be_whole_and_shows_nobody_to_ask_for_stops_nobody():
    site = FakeSite()
    site.add(ANNA, name="anna", status=False)
    with ScriptedTarget(Target(*OTHERS, ACCOUNT, mute=False, most=10)) as server:
        assert worked_on(server, site, FakeLinks()).operation is OperationName.DEACTIVATE
    with ScriptedTarget(Target(*OTHERS, mute=False, most=10)) as server:
        assert worked_on(server, site, FakeLinks()).operation is OperationName.NONE

"""Links, guard and the rest of what is remembered, on a real Valkey."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import GuardSettings, OperationName, Trigger
from provisioning.model import Job, Link, Removal
from state.guard import RemovalGuard, rejection
from state.links import LinkStore, digest_key
from state.processes import Announced, Leadership, Processes
from tests.support.valkey import with_redis

LINK = Link(
    "id-1", 'W/"1"', "print", {'emails[type eq "work"].value': "abcdefg", "userName": "hijklmn"}, True
)


def job(user: str, **known: object) -> Job:
    return Job("acme", user, {Trigger.SCHEDULED: None}, 1, **known)


def test_links_come_back_as_they_were_written(redis_url):
    async def body(client):
        await LinkStore(client, "acme", LINK.digests).put("u", LINK)
        other = LinkStore(client, "acme", LINK.digests)
        assert await other.get_many(["u", "nobody"]) == {"u": LINK}
        assert await other.owner("id-1") == "u"
        assert [page async for page in other.scan()] == [{"u": LINK}]

    with_redis(redis_url, body)


def test_an_account_belongs_to_one_user(redis_url):
    async def body(client):
        links = LinkStore(client, "acme", LINK.digests)
        assert await links.put("u", LINK)
        assert not await links.put("v", LINK)
        # Whoever does not know of the account a user has overwrites and drops nothing.
        assert not await links.put("u", Link("id-2", None, "f", {}))
        assert not await links.put("u", Link("", None, "f", {}))
        assert not await links.drop("u", "")
        assert await links.put("u", Link("id-2", None, "f", {}), instead_of="id-1")
        assert await links.put("v", LINK)
        assert not await links.drop("u", "id-1")
        assert await links.drop("u", "id-2")
        assert await links.owner("id-2") is None
        assert await links.count() == 1

    with_redis(redis_url, body)


def test_no_digest_can_be_made_without_the_key_and_the_key_stays(redis_url):
    async def body(client):
        assert await digest_key(client) == await digest_key(client)
        assert len(await digest_key(client)) == 32

    with_redis(redis_url, body)


def test_the_guard_takes_the_smaller_limit_and_counts_a_repeated_removal_once(redis_url):
    async def body(client):
        links = LinkStore(client, "acme", LINK.digests)
        for number in range(30):
            await links.put(f"u{number}", Link(f"id-{number}", None, "f", {}))
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=50, max_removal_percent=10))
        for user in ("u0", "u1", "u1", "u2"):
            assert await guard.take(job(user), Removal(OperationName.DEACTIVATE, "id-1")) is None
        withheld = await guard.take(job("u3"), Removal(OperationName.DELETE, "id-1"))
        assert "3 (10 % of 30 active accounts)" in withheld.reason
        assert (
            await guard.take(
                job("u3", approved=Removal(OperationName.DELETE, "id-1")),
                Removal(OperationName.DELETE, "id-1"),
            )
            is None
        )

    with_redis(redis_url, body)


def linked_accounts(client, *, active: int, deactivated: int = 0):
    links = LinkStore(client, "acme", LINK.digests)
    return asyncio.gather(
        *(
            links.put(f"u{number}", Link(f"id-{number}", None, "f", {}, number < active))
            for number in range(active + deactivated)
        )
    )


def test_the_share_is_of_those_who_have_something_to_lose(redis_url):
    """Former users keep their links for years: of 45 users and 455 former ones 45 could be removed."""

    async def body(client):
        await linked_accounts(client, active=45, deactivated=455)
        guard = RemovalGuard(client, "acme", GuardSettings())
        assert await guard.budget() == (5, "5 (10 % of 45 active accounts)")
        assert await guard.share() == await guard.budget()
        assert await guard.close_run("everybody", 45)
        limited = RemovalGuard(client, "acme", GuardSettings(max_removals=3))
        assert await limited.budget() == (3, "3 (max_removals)")

    with_redis(redis_url, body)


def test_a_small_site_can_lose_one_user_and_so_can_one_that_has_former_users_only(redis_url):
    async def body(client):
        guard = RemovalGuard(client, "acme", GuardSettings())
        assert (await guard.budget())[0] == 1
        await linked_accounts(client, active=2, deactivated=40)
        assert (await guard.budget())[0] == 1
        await linked_accounts(client, active=0, deactivated=42)
        assert (await RemovalGuard(client, "acme", GuardSettings(max_removal_percent=0)).budget())[0] == 0

    with_redis(redis_url, body)


@pytest.mark.parametrize(("percent", "allowed"), [(95, 19), (50, 10), (10, 2)])
@pytest.mark.parametrize("operation", [OperationName.DEACTIVATE, OperationName.DELETE])
@pytest.mark.parametrize("carried_out", [True, False])
def test_what_is_removed_makes_the_share_no_smaller_meanwhile(
    redis_url, percent, allowed, operation, carried_out
):
    """A run that was within the budget is not held half-way; and no more are removed than that."""

    async def body(client):
        await linked_accounts(client, active=20, deactivated=80)
        links = LinkStore(client, "acme", LINK.digests)
        guard = RemovalGuard(client, "acme", GuardSettings(max_removal_percent=percent))
        assert not await guard.close_run("run", allowed)
        taken = 0
        for number in range(20):
            if await guard.take(job(f"u{number}", run_id="run"), Removal(operation, f"id-{number}")):
                continue
            taken += 1
            if carried_out and operation is OperationName.DELETE:
                await links.drop(f"u{number}", f"id-{number}")
            elif carried_out:
                await links.put(f"u{number}", Link(f"id-{number}", None, "f", {}, active=False))
        assert taken == allowed
        # An hour later the share is of those who are left.
        await client.delete("scimpipe:{acme}:removals", "scimpipe:{acme}:removable")
        left = 20 - taken if carried_out else 20
        assert f"of {left} active" in (await guard.share())[1]

    with_redis(redis_url, body)


def test_where_everybody_may_go_they_may_come_and_go(redis_url):
    """Blocked, unblocked and deleted within an hour: more removals than there ever were accounts at a time."""

    async def body(client):
        await linked_accounts(client, active=2)
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=10**6, max_removal_percent=100))
        for number in range(20):
            for operation in (OperationName.DEACTIVATE, OperationName.DELETE):
                assert await guard.take(job(f"u{number}"), Removal(operation, f"id-{number}")) is None
            losing = Removal(OperationName.UPDATE, f"id-{number}", frozenset({"title"}))
            assert await guard.take(job(f"u{number}"), losing) is None

    with_redis(redis_url, body)


def test_former_accounts_that_are_deleted_make_the_share_no_larger(redis_url):
    async def body(client):
        await linked_accounts(client, active=20, deactivated=80)
        links = LinkStore(client, "acme", LINK.digests)
        guard = RemovalGuard(client, "acme", GuardSettings(max_removal_percent=50))
        for number in range(20, 30):
            assert await guard.take(job(f"u{number}"), Removal(OperationName.DELETE, f"id-{number}")) is None
            await links.drop(f"u{number}", f"id-{number}")
        assert await guard.take(job("u1"), Removal(OperationName.DELETE, "id-1")) is not None

    with_redis(redis_url, body)


def test_an_attribute_is_lost_by_no_more_than_the_share_of_users(redis_url):
    async def body(client):
        links = LinkStore(client, "acme", LINK.digests)
        for number in range(30):
            await links.put(f"u{number}", Link(f"id-{number}", None, "f", {}))
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=1, max_removal_percent=10))

        def losing(*paths):
            return Removal(OperationName.UPDATE, "id-1", frozenset(paths))

        for user in ("u0", "u1", "u1", "u2"):
            assert await guard.take(job(user), losing("title")) is None
        assert (
            "3 (10 % of 30 active accounts) would lose title"
            in (await guard.take(job("u3"), losing("title"))).reason
        )
        # All or nothing: what is held takes nothing from another attribute's budget.
        for number in range(5):
            assert await guard.take(job(f"u{9 - number}"), losing("department", "title")) is not None
        assert await guard.take(job("u4"), losing("department")) is None
        approved = job("u3", approved=losing("title", "department"))
        assert await guard.take(approved, losing("title")) is None
        assert (
            await guard.take(job("u3", approved=losing("title")), losing("title", "department")) is not None
        )

    with_redis(redis_url, body)


def test_what_a_person_wants_kept_does_not_go_with_something_else(redis_url):
    """Once the user has lost one more attribute, a person is asked about both."""

    async def body(client):
        guard = RemovalGuard(client, "acme", GuardSettings(max_removal_percent=100))

        def losing(*paths):
            return Removal(OperationName.UPDATE, "id-1", frozenset(paths))

        await client.hset("scimpipe:{acme}:rejected", "u", rejection(OperationName.UPDATE, ["title"], None))
        assert (await guard.take(job("u"), losing("title"))).rejected
        both = await guard.take(job("u"), losing("title", "department"))
        assert both is not None
        assert not both.rejected
        assert "title stays" in both.reason
        approved = job("u", approved=losing("title", "department"))
        assert await guard.take(approved, losing("title", "department")) is None
        assert await guard.take(job("u"), losing("department")) is None
        assert await guard.take(job("u"), Removal(OperationName.DEACTIVATE, "id-1")) is None

    with_redis(redis_url, body)


def test_a_run_over_the_budget_removes_nobody(redis_url):
    async def body(client):
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=2, max_removal_percent=100))
        assert not await guard.close_run("small", 1)
        assert await guard.close_run("big", 3)
        assert (
            "3 removals"
            in (await guard.take(job("u", run_id="big"), Removal(OperationName.DELETE, "id-1"))).reason
        )
        assert await guard.take(job("u", run_id="small"), Removal(OperationName.DELETE, "id-1")) is None

    with_redis(redis_url, body)


def test_a_budget_of_none_holds_every_removal(redis_url):
    async def body(client):
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=0))
        assert await guard.take(job("u"), Removal(OperationName.DEACTIVATE, "id-1")) is not None

    with_redis(redis_url, body)


def test_one_process_leads_and_another_follows_when_it_is_gone(redis_url):
    async def body(client):
        first, second = Leadership(client, "scheduler", "a", 0.2), Leadership(client, "scheduler", "b", 0.2)
        assert await first.hold()
        assert not await second.hold()
        assert await first.hold()
        await asyncio.sleep(0.3)
        assert await second.hold()
        assert not await first.hold()

    with_redis(redis_url, body)


def test_processes_announce_themselves(redis_url):
    async def body(client):
        processes = Processes(client)
        await processes.announce("worker", "a", Announced("c", ("bulk", "interactive")))
        await processes.announce("worker", "b", Announced("c"))
        await processes.announce("scheduler", "c", Announced("c"))
        await processes.withdraw("worker", "b")
        assert await processes.count("worker") == 1
        assert await processes.alive("worker") == (Announced("c", ("bulk", "interactive")),)
        assert await processes.alive("scheduler") == (Announced("c"),)

    with_redis(redis_url, body)

"""The ledger's transitions on a real Valkey: nobody is lost, nobody is worked on twice at once."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import OperationName, Trigger
from provisioning.model import OutcomeName, Removal
from state.ledger import INTERACTIVE
from state.runs import Runs
from tests.support.ledger import LEASE, result


def test_a_pending_user_is_sent_once_and_keeps_the_union_of_permissions(run):
    async def body(ledger, _):
        first = await ledger.mark_pending(["u"], Trigger.MANUAL, operations=frozenset({OperationName.UPDATE}))
        second = await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        third = await ledger.mark_pending(["u"], Trigger.MANUAL, operations=frozenset({OperationName.CREATE}))
        assert first.to_send == ("u",)
        assert second.to_send == third.to_send == ()
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert job.permits == {
            Trigger.MANUAL: frozenset({OperationName.UPDATE, OperationName.CREATE}),
            Trigger.SCHEDULED: None,
        }
        assert job.generation == third.generations["u"]

    run(body)


@pytest.mark.parametrize("trigger", [Trigger.MANUAL, Trigger.AUTOMATIC])
def test_who_waits_for_a_full_sync_gets_a_message_in_the_quicker_lane_once(run, trigger):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        assert (await ledger.mark_pending(["u"], trigger)).to_send == ("u",)
        for following in Trigger:
            assert (await ledger.mark_pending(["u"], following)).to_send == ()

    run(body)


def test_a_user_is_claimed_by_one_worker_only(run):
    async def body(ledger, _):
        users = [f"u{n}" for n in range(50)]
        await ledger.mark_pending(users, Trigger.AUTOMATIC)
        claims = await asyncio.gather(*(ledger.claim(users, f"w{n}", LEASE) for n in range(8)))
        assert sorted(job.user for jobs in claims for job in jobs) == sorted(users)
        assert (await ledger.counts()).running == 50

    run(body)


def test_a_user_submitted_while_running_becomes_pending_again_when_the_work_ends(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        marked = await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        assert marked.to_send == ()
        assert await ledger.claim(["u"], "other", LEASE) == ()
        settled = await ledger.settle(job, "w", result(job))
        assert settled.applied
        assert settled.again == "interactive"
        (again,) = await ledger.claim(["u"], "other", LEASE)
        assert again.generation == marked.generations["u"]

    run(body)


def test_a_worker_that_died_is_followed_by_another_with_the_same_permissions(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.MANUAL, operations=frozenset({OperationName.DELETE}))
        (job,) = await ledger.claim(["u"], "dead", 0.05)
        await asyncio.sleep(0.1)
        assert await ledger.sweep(INTERACTIVE) == ("u",)
        (again,) = await ledger.claim(["u"], "alive", LEASE)
        assert again.permits == job.permits
        assert again.attempt == 2
        assert not (await ledger.settle(job, "dead", result(job))).applied
        assert (await ledger.counts()).running == 1

    run(body)


def test_what_was_submitted_after_the_death_is_merged_with_what_the_dead_worker_held(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.MANUAL)
        await ledger.claim(["u"], "dead", 0.05)
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        await asyncio.sleep(0.1)
        (again,) = await ledger.claim(["u"], "alive", LEASE)
        assert set(again.permits) == {Trigger.MANUAL, Trigger.SCHEDULED}

    run(body)


def test_a_renewed_lease_lasts_and_a_lost_one_is_told(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u", "v"], Trigger.AUTOMATIC)
        await ledger.claim(["u"], "w", LEASE)
        await ledger.claim(["v"], "w", 0.05)
        await asyncio.sleep(0.1)
        assert await ledger.renew(["u", "v"], "w", LEASE) == ["u"]
        assert await ledger.renew(["u"], "thief", LEASE) == []

    run(body)


def test_everybody_who_waits_for_a_user_is_told(run):
    async def body(ledger, _):
        one = await ledger.mark_pending(["u"], Trigger.MANUAL)
        two = await ledger.mark_pending(["u"], Trigger.MANUAL)
        assert await ledger.results(one.generations) == {}
        (job,) = await ledger.claim(["u"], "w", LEASE)
        late = await ledger.mark_pending(["u"], Trigger.MANUAL)
        await ledger.settle(job, "w", result(job, scim_id="id-1", changes=("userName",)))
        for marked in (one, two):
            told = (await ledger.results(marked.generations))["u"]
            assert (told.scim_id, told.changes) == ("id-1", ("userName",))
        assert await ledger.results(late.generations) == {}

    run(body)


def test_dead_letters_keep_their_first_time_and_go_with_success(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(
            job, "w", result(job, OutcomeName.FAILED, status_code=400, detail="bad", attempt=3)
        )
        (letter,) = await ledger.dead_letters()
        assert (letter.status_code, letter.attempts, letter.detail) == (400, 3, "bad")
        assert await ledger.retry(["u"]) == {"interactive": ("u",)}
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert set(job.permits) == {Trigger.AUTOMATIC}
        await ledger.settle(job, "w", result(job, OutcomeName.FAILED, status_code=403))
        (again,) = await ledger.dead_letters()
        assert again.first_failed_at == letter.first_failed_at
        assert again.last_failed_at >= letter.last_failed_at
        await ledger.retry(["u"])
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job))
        assert await ledger.dead_letters() == ()

    run(body)


@pytest.mark.parametrize("outcome", [OutcomeName.FAILED, OutcomeName.HELD])
def test_what_waits_for_a_person_stays_when_the_next_trigger_may_not_do_it(run, outcome):
    async def body(ledger, _):
        for trigger, ended in ((Trigger.AUTOMATIC, outcome), (Trigger.SCHEDULED, OutcomeName.SKIPPED)):
            await ledger.mark_pending(["u"], trigger)
            (job,) = await ledger.claim(["u"], "w", LEASE)
            await ledger.settle(job, "w", result(job, ended, operation=OperationName.DEACTIVATE))
        assert await ledger.waiting() == {"u"}

    run(body)


def test_an_approval_works_once_and_covers_what_was_shown(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.HELD, operation=OperationName.DEACTIVATE))
        assert (await ledger.counts()).held == 1
        assert await ledger.approve(["u"]) == {"bulk": ("u",)}
        assert await ledger.approve(["u"]) == {}
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert (job.approved.operation, job.approved.cleared) == (OperationName.DEACTIVATE, frozenset())

    run(body)


def test_a_full_sync_counts_each_user_once_and_ends_with_the_last(run):
    async def body(ledger, client):
        runs = Runs(client, "acme")
        run_id, kind = await runs.start("s", "scheduled", "policy")
        assert kind == "new"
        assert (await runs.start("other", "scheduled", "policy")) == (run_id, "busy")
        await ledger.mark_pending(["u", "v"], Trigger.SCHEDULED, run_id=run_id)
        await runs.advance(run_id, "s", 2, scanned=2)
        jobs = {job.user: job for job in await ledger.claim(["u", "v"], "w", LEASE)}
        await ledger.settle(jobs["u"], "w", result(jobs["u"]))
        await runs.scanned(run_id, "s")
        assert (await runs.get(run_id)).finished_at is None
        settled = await ledger.settle(jobs["v"], "w", result(jobs["v"], OutcomeName.SKIPPED))
        assert settled.run == run_id
        finished = await runs.get(run_id)
        assert finished.finished_at is not None
        assert (finished.counters["created"], finished.counters["skipped"], finished.counters["scanned"]) == (
            1,
            1,
            2,
        )
        assert (await runs.start("s", "scheduled", "policy"))[1] == "new"

    run(body)


def test_a_scan_whose_process_died_is_resumed_at_its_cursor(run):
    async def body(_, client):
        runs = Runs(client, "acme")
        run_id, _ = await runs.start("dead", "scheduled", "policy")
        await runs.advance(run_id, "dead", 41, scanned=41)
        await runs.stop_scanning(run_id, "dead", "Drupal does not answer")
        assert (await runs.get(run_id)).error == "Drupal does not answer"
        assert await runs.start("alive", "scheduled", "policy") == (run_id, "resume")
        run = await runs.get(run_id)
        assert (run.cursor, run.error) == (41, "")

    run(body)


def test_a_rejected_removal_is_not_asked_about_again_until_the_user_has_qualified_once_more(run):
    from config.settings import GuardSettings
    from state.guard import RemovalGuard

    async def body(ledger, client):
        guard = RemovalGuard(client, "acme", GuardSettings(max_removals=0))
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.HELD, operation=OperationName.DELETE))
        assert await ledger.reject(["u"]) == 1
        assert await ledger.held() == ()
        assert (await guard.take(job, Removal(OperationName.DELETE, "id-1"))).rejected
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.SKIPPED, operation=OperationName.DELETE))
        assert (await guard.take(job, Removal(OperationName.DELETE, "id-1"))).rejected
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.DONE))
        assert not (await guard.take(job, Removal(OperationName.DELETE, "id-1"))).rejected

    run(body)


def test_an_orphan_that_was_approved_can_be_claimed(run):
    async def body(ledger, _):
        entry = {"target": "acme", "operation": "delete", "scim_id": "id-1", "detail": "orphan"}
        assert await ledger.hold("u", entry, Trigger.MANUAL)
        await ledger.approve(["u"])
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert job.approved == Removal(OperationName.DELETE, "id-1")

    run(body)


def test_a_full_sync_ends_though_another_batch_has_put_its_name_on_a_job(run):
    async def body(ledger, client):
        runs = Runs(client, "acme")
        run_id, _ = await runs.start("s", "scheduled", "policy")
        await ledger.mark_pending(["u"], Trigger.SCHEDULED, run_id=run_id)
        await runs.scanned(run_id, "s")
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC, run_id="poll-1")
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert job.run_id == "poll-1"
        assert (await ledger.settle(job, "w", result(job))).run == run_id
        assert (await runs.get(run_id)).counters["created"] == 1

    run(body)


def test_a_full_sync_waits_for_the_job_it_asked_for_and_not_for_one_that_ran_before(run):
    async def body(ledger, client):
        runs = Runs(client, "acme")
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (before,) = await ledger.claim(["u"], "w", LEASE)
        run_id, _ = await runs.start("s", "scheduled", "policy")
        await ledger.mark_pending(["u"], Trigger.SCHEDULED, run_id=run_id)
        await runs.scanned(run_id, "s")
        assert (await ledger.settle(before, "w", result(before))).run is None
        (job,) = await ledger.claim(["u"], "w", LEASE)
        assert (await ledger.settle(job, "w", result(job))).run == run_id

    run(body)


def test_a_user_whom_a_full_sync_waits_for_takes_300_bytes(run):
    """docs/scale.md rests on it: in an initial load all of them are pending at once."""
    users = [f"0f000000-0000-4000-8000-{number:012d}" for number in range(10_000)]

    async def body(ledger, client):
        for start in range(0, len(users), 500):
            await ledger.mark_pending(users[start : start + 500], Trigger.SCHEDULED, run_id="0123456789ab")
        names = ("jobs", "due", "run:0123456789ab:users")
        taken = [await client.memory_usage(f"scimpipe:{{acme}}:{name}", samples=0) for name in names]
        assert sum(taken) / len(users) < 305

    run(body)

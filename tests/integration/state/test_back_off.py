"""When a user whose work failed is worked on again, on a real Valkey: after a wait, which only a person shortens; after a write
without an answer not even a person.
"""

from __future__ import annotations

import asyncio

import pytest

from config.settings import Trigger
from provisioning.model import Job, OutcomeName
from state import ledger as ledger_module
from state.ledger import INTERACTIVE, Settled
from tests.support.ledger import LEASE, result


def test_who_waits_for_a_back_off_gets_no_message_before_it_is_over_but_by_hand(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.SCHEDULED)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.PENDING, retry_after_seconds=20.0))
        assert (await ledger.mark_pending(["u"], Trigger.AUTOMATIC)).to_send == ()
        assert (await ledger.mark_pending(["u"], Trigger.MANUAL)).to_send == ("u",)

    run(body)


def test_a_transient_failure_waits_for_its_back_off_and_counts_the_attempt(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.PENDING, retry_after_seconds=0.2))
        assert await ledger.claim(["u"], "w", LEASE) == ()
        assert await ledger.sweep(INTERACTIVE) == ()
        await asyncio.sleep(0.25)
        assert await ledger.sweep(INTERACTIVE) == ("u",)
        (again,) = await ledger.claim(["u"], "w", LEASE)
        assert again.attempt == 2

    run(body)


@pytest.mark.parametrize("trigger", [Trigger.AUTOMATIC, Trigger.SCHEDULED])
def test_what_is_submitted_while_the_work_fails_waits_as_well(run, trigger):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.mark_pending(["u"], trigger)
        await ledger.settle(job, "w", result(job, OutcomeName.PENDING, retry_after_seconds=0.2))
        assert await ledger.claim(["u"], "w", LEASE) == ()
        await asyncio.sleep(0.25)
        (again,) = await ledger.claim(["u"], "w", LEASE)
        assert again.permits.keys() == {Trigger.AUTOMATIC, trigger}

    run(body)


def test_what_a_person_submits_while_the_work_fails_does_not_wait(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.mark_pending(["u"], Trigger.MANUAL)
        await ledger.settle(job, "w", result(job, OutcomeName.PENDING, retry_after_seconds=60))
        assert len(await ledger.claim(["u"], "w", LEASE)) == 1

    run(body)


def test_a_person_does_not_wait_for_the_back_off(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        (job,) = await ledger.claim(["u"], "w", LEASE)
        await ledger.settle(job, "w", result(job, OutcomeName.PENDING, retry_after_seconds=60))
        assert (await ledger.mark_pending(["u"], Trigger.AUTOMATIC)).to_send == ()
        assert await ledger.claim(["u"], "w", LEASE) == ()
        assert (await ledger.mark_pending(["u"], Trigger.MANUAL)).to_send == ("u",)
        (again,) = await ledger.claim(["u"], "w", LEASE)
        assert again.attempt == 1

    run(body)


# -- a write without an answer ---------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch):
    """What may still be carried out is waited for as long as a test likes to."""
    monkeypatch.setattr(ledger_module, "LATE_MS", 300)


async def running(ledger) -> Job:
    await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
    (job,) = await ledger.claim(["u"], "w", LEASE)
    return job


async def unanswered(ledger, job: Job, outcome: OutcomeName = OutcomeName.PENDING) -> Settled:
    """outcome: FAILED after the last attempt."""
    ended = result(job, outcome, retry_after_seconds=60.0, unanswered=True)
    return await ledger.settle(job, "w", ended)


async def nobody_has_the_user_before_it_is_over(ledger) -> None:
    assert await ledger.claim(["u"], "w", LEASE) == ()
    assert await ledger.sweep(INTERACTIVE) == ()
    await asyncio.sleep(0.35)
    # The sweeper sends the message: whoever was there when it was submitted could not.
    assert await ledger.sweep(INTERACTIVE) == ("u",)
    assert len(await ledger.claim(["u"], "w", LEASE)) == 1


async def by_hand(ledger):
    assert (await ledger.mark_pending(["u"], Trigger.MANUAL)).to_send == ()


async def hurried(ledger):
    assert await ledger.hurry() == {}


async def from_the_dead_letters(ledger):
    assert await ledger.retry(["u"]) == {"interactive": ("u",)}


@pytest.mark.parametrize(
    ("outcome", "shorten"),
    [
        (OutcomeName.PENDING, by_hand),
        (OutcomeName.PENDING, hurried),
        (OutcomeName.FAILED, by_hand),
        (OutcomeName.FAILED, from_the_dead_letters),
    ],
)
def test_not_even_a_person_comes_before_it_can_be_carried_out_no_more(run, soon, outcome, shorten):
    async def body(ledger, _):
        await unanswered(ledger, await running(ledger), outcome)
        await shorten(ledger)
        await nobody_has_the_user_before_it_is_over(ledger)

    run(body)


@pytest.mark.parametrize("outcome", [OutcomeName.PENDING, OutcomeName.FAILED])
def test_what_a_person_submits_before_a_write_turns_out_to_have_no_answer_waits_as_well(run, soon, outcome):
    async def body(ledger, _):
        job = await running(ledger)
        await ledger.mark_pending(["u"], Trigger.MANUAL)
        settled = await unanswered(ledger, job, outcome)
        assert (settled.applied, settled.again) == (True, None)
        await nobody_has_the_user_before_it_is_over(ledger)

    run(body)


def test_a_dead_letter_retried_meanwhile_waits_as_well(run, soon):
    async def body(ledger, _):
        job = await running(ledger)
        await ledger.settle(job, "w", result(job, OutcomeName.FAILED))
        await unanswered(ledger, await running(ledger))
        await from_the_dead_letters(ledger)
        await nobody_has_the_user_before_it_is_over(ledger)

    run(body)


def test_after_the_last_attempt_of_a_user_nobody_asks_for_nothing_is_left_but_the_dead_letter(run, soon):
    async def body(ledger, client):
        job = await running(ledger)
        await unanswered(ledger, job, OutcomeName.FAILED)
        await asyncio.sleep(0.35)
        assert await ledger.sweep(INTERACTIVE) == ()
        assert not await client.exists(
            *(f"scimpipe:{{acme}}:{name}" for name in ("leases", "leased", "jobs"))
        )

    run(body)


def test_who_is_handed_back_with_a_request_under_way_waits(run, soon):
    async def body(ledger, _):
        await ledger.mark_pending(["u", "v"], Trigger.AUTOMATIC)
        await ledger.claim(["u", "v"], "w", LEASE)
        await ledger.hand_back(["u"], "w", unanswered=True)
        await ledger.hand_back(["v"], "w")
        assert [job.user for job in await ledger.claim(["u", "v"], "w2", LEASE)] == ["v"]
        await asyncio.sleep(0.35)
        (again,) = await ledger.claim(["u"], "w2", LEASE)
        assert again.attempt == 1

    run(body)


def test_handing_back_spends_no_attempt(run):
    async def body(ledger, _):
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        await ledger.claim(["u"], "w", LEASE)
        await ledger.hand_back(["u"], "w")
        (again,) = await ledger.claim(["u"], "w", LEASE)
        assert again.attempt == 1

    run(body)

"""A Bulk request that is sent a second time: after a redirect, in another media type, with a new token."""

from __future__ import annotations

import asyncio
import threading

import pytest

from provisioning.applying import LeaseLostError
from tests.support.bulk_target import BulkTarget
from tests.support.bulk_writes import create_leased, kinds, names, run
from tests.support.fakes import HeldLease
from tests.support.scripted_target import Answer

AGAIN = {307: Answer(307, headers={"Location": "/scim/Bulk"}), 415: Answer(415), 401: Answer(401)}


@pytest.mark.parametrize("status", AGAIN)
@pytest.mark.parametrize("lost", [{1}, {0}, {0, 1, 2}], ids=["another", "who counts it", "all"])
def test_a_lease_lost_before_a_request_is_sent_again_sends_nothing_of_that_user(status, lost, tmp_path):
    leases = [HeldLease() for _ in range(3)]
    token = tmp_path / "token"
    token.write_text("first")

    def first(request):
        if len(script.sizes) > 1:
            return None
        for each in lost:
            leases[each].held = False
        token.write_text("second")
        return AGAIN[status]

    script = BulkTarget(whole=first)

    results, _ = run(script, lambda target: create_leased(target, names(3), leases), token_file=token)
    assert {at for at, each in enumerate(results) if type(each) is LeaseLostError} == lost
    assert script.names() == [name for at, name in enumerate(names(3)) if at not in lost]
    assert script.sizes == ([3] if len(lost) == 3 else [3, 2])


def test_who_is_cancelled_before_a_request_is_sent_again_leaves():
    came, goes_on = threading.Event(), threading.Event()

    def first(request):
        if len(script.sizes) > 1:
            return None
        came.set()
        goes_on.wait(5)
        return AGAIN[307]

    script = BulkTarget(whole=first)

    async def body(target):
        tasks = [asyncio.create_task(target.create({"userName": name})) for name in names(3)]
        await asyncio.to_thread(came.wait)
        tasks[1].cancel()
        await asyncio.sleep(0)
        goes_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert kinds(run(script, body)[0])["CancelledError"] == 1
    assert script.names() == ["user0000", "user0002"]

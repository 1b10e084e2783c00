"""What `resume` ends, on a real Valkey."""

from __future__ import annotations

from config.settings import Trigger
from state.ledger import Ledger
from tests.support.valkey import with_redis


def test_the_wait_that_the_target_has_asked_for_ends_for_each_user_who_was_told_of_it(run, redis_url):
    """Each has it noted as well: they, and whoever is blocked meanwhile, would wait for an hour at a target that is open."""

    async def asked_to_wait(client):
        ledger = Ledger(client, "acme")
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        await ledger.claim(["u"], "w", 30)
        await ledger.hand_back(["u"], "w", 3600)
        await ledger.mark_pending(["u"], Trigger.AUTOMATIC)
        assert await ledger.claim(["u"], "w", 30) == ()

    async def claimed(client):
        return await Ledger(client, "acme").claim(["u"], "w", 30)

    with_redis(redis_url, asked_to_wait)
    assert run("resume", "acme").returncode == 0
    assert [job.user for job in with_redis(redis_url, claimed)] == ["u"]

"""Until when a lease is believed here."""

from __future__ import annotations

from workers.leases import LEASE_SECONDS, MARGIN_SECONDS, HeldLeases


def test_a_lease_counts_from_when_redis_was_asked_and_not_from_its_answer():
    now = 129.0
    leases = HeldLeases(["u"], "worker", 100.0, lambda: now)
    assert not leases.valid("u")
    leases.extended(["u"], 128.0)
    assert leases.valid("u")
    now = 128.0 + LEASE_SECONDS - MARGIN_SECONDS
    assert not leases.valid("u")

"""A site, a target and what is remembered between them, in memory: one user is reconciled at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from config.settings import (
    GuardSettings,
    LeaverSettings,
    LimitSettings,
    MappedValue,
    TargetSettings,
    Trigger,
    TriggerSettings,
)
from provisioning.mapping import compile_target
from provisioning.model import Job, Result
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from tests.support.fakes import FakeGuard, FakeLinks, FakeRewritten, FakeSite, FakeTarget, HeldLease

ALL = frozenset({"create", "update", "deactivate", "delete"})
ANNA = "0a000000-0000-4000-8000-00000000000a"
BERT = "0b000000-0000-4000-8000-00000000000b"
KEY = b"k" * 32


MAIL = 'emails[type eq "work"].value'


def settings(**changes: Any) -> TargetSettings:
    known: dict[str, Any] = {
        "name": "acme",
        "base_url": "https://acme.example/scim/v2",
        "scope": "'member' in roles or not roles",
        "mapping": {
            "userName": MappedValue(value="name"),
            "externalId": MappedValue(value="uuid"),
            "active": MappedValue(value="status"),
            "displayName": MappedValue(value="name"),
            MAIL: MappedValue(value="mail"),
            "nickName": MappedValue(value="name", on="create"),
        },
        "leavers": LeaverSettings(),
        "manual": TriggerSettings(operations=ALL),
        "automatic": TriggerSettings(operations=ALL - {"delete"}),
        "limits": LimitSettings(max_attempts=3),
        "guard": GuardSettings(),
    }
    return TargetSettings(**{**known, **changes})


class World:
    """A site, a target and everything remembered between them."""

    def __init__(self, **changes: Any) -> None:
        self.settings = settings(**changes)
        self.site, self.target = FakeSite(), FakeTarget()
        self.links, self.guard = FakeLinks(), FakeGuard()
        self.rewritten, self.lease = FakeRewritten(), HeldLease()
        ports = Ports(self.site, self.target, self.links, self.guard, self.rewritten)
        self.reconciler = Reconciler(
            self.settings, compile_target(self.settings), KEY, ports, random=lambda: 0.5
        )

    def run(self, user: str, *, attempt: int = 1, trigger: Trigger = Trigger.MANUAL, **known: Any) -> Result:
        job = Job("acme", user, {trigger: known.pop("narrowed", None)}, 1, attempt=attempt, **known)

        async def once() -> Result:
            users = await self.site.read([user])
            links = await self.links.get_many([user])
            return await self.reconciler.reconcile(job, users.get(user), links.get(user), self.lease)

        return asyncio.run(once())

    def accounts(self) -> Mapping[str, Mapping[str, Any]]:
        return {account["userName"]: account for account in self.target.accounts.values()}

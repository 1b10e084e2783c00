"""A service provider over real HTTP that keeps accounts, with the manners of a real one, and one user reconciled with it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from config.settings import LimitSettings, Trigger
from provisioning.diff import merge
from provisioning.mapping import compile_target
from provisioning.model import Changes, Job, OutcomeName, Result
from provisioning.ports import Ports
from provisioning.reconcile import Reconciler
from scim.quirks import QuirksInMemory
from scim.target import ScimTarget
from tests.support.fakes import FakeGuard, FakeLinks, FakeRewritten, FakeSite, HeldLease
from tests.support.manners import listing
from tests.support.opened_target import with_target
from tests.support.reconciling import KEY, settings
from tests.support.scripted_target import Answer, Request, ScriptedTarget

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def refusal(status: int, **more: Any) -> Answer:
    return Answer(status, {"schemas": [ERROR], "status": str(status), **more})


@dataclass
class Provider:
    """first: asked before; its answer, if any, is sent instead. shown: an account as it is shown. written: the answer to a
    write, by the account. config: its ServiceProviderConfig, none when empty.
    """

    first: Callable[[Request], Answer | None] = lambda request: None
    shown: Callable[[dict[str, Any]], dict[str, Any]] = lambda account: account
    written: Callable[[dict[str, Any]], Answer] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Request) -> Answer:
        return self.first(request) or self.answer(request)

    def answer(self, request: Request) -> Answer:
        kind, _, scim_id = request.path.strip("/").partition("/")
        if kind == "ServiceProviderConfig" and self.config:
            return Answer(body=self.config)
        if kind != "Users" or (scim_id and scim_id not in self.accounts):
            return refusal(404)
        if not scim_id:
            return self._created(request.body) if request.method == "POST" else self._listed(request)
        if request.method == "DELETE":
            del self.accounts[scim_id]
            return Answer(204)
        if request.method == "GET":
            return Answer(body=self.shown(self.accounts[scim_id]))
        changed = request.body if request.method == "PUT" else self._patched(scim_id, request.body)
        self.accounts[scim_id] = {**changed, "id": scim_id}
        return self._written(scim_id)

    def _written(self, scim_id: str) -> Answer:
        account = self.shown(self.accounts[scim_id])
        return self.written(account) if self.written else Answer(body=account)

    def _created(self, resource: dict[str, Any]) -> Answer:
        if any(each["userName"] == resource["userName"] for each in self.accounts.values()):
            return refusal(409, scimType="uniqueness")
        scim_id = f"id-{next(self._ids)}"
        self.accounts[scim_id] = {**resource, "id": scim_id}
        return Answer(201, self.shown(self.accounts[scim_id]))

    def _patched(self, scim_id: str, body: dict[str, Any]) -> dict[str, Any]:
        changes = {each["path"]: each["value"] for each in body["Operations"] if each["op"] != "remove"}
        removed = tuple(each["path"] for each in body["Operations"] if each["op"] == "remove")
        return merge(self.accounts[scim_id], Changes(changes, removed))

    def _listed(self, request: Request) -> Answer:
        asked = re.fullmatch(r'(\w+) eq "(.*)"', request.query.get("filter", ""))
        found = [
            self.shown(account)
            for account in self.accounts.values()
            if asked is None or account.get(asked[1]) == asked[2]
        ]
        start, count = int(request.query.get("startIndex", 1)), int(request.query.get("count", 100))
        return listing(*found[start - 1 : start - 1 + count], total=len(found))


class World:
    """A site, a provider, and what is remembered between them."""

    def __init__(self, provider: Provider, **known: Any) -> None:
        self.provider = provider
        self.settings = settings(limits=LimitSettings(max_attempts=8), **known)
        self.site, self.links, self.quirks = FakeSite(), FakeLinks(), QuirksInMemory()
        self.guard, self.rewritten = FakeGuard(), FakeRewritten()

    def run(self, user: str, attempts: int = 8) -> Result:
        """Until the user is not pending any more."""

        async def body(target: ScimTarget) -> Result:
            ports = Ports(self.site, target, self.links, self.guard, self.rewritten)
            reconciler = Reconciler(self.settings, compile_target(self.settings), KEY, ports, lambda: 0.5)
            for attempt in range(1, attempts + 1):
                job = Job("acme", user, {Trigger.MANUAL: None}, 1, attempt=attempt)
                users, links = await self.site.read([user]), await self.links.get_many([user])
                result = await reconciler.reconcile(job, users.get(user), links.get(user), HeldLease())
                if result.outcome is not OutcomeName.PENDING:
                    break
            return result

        with ScriptedTarget(self.provider) as server:
            self.asked = server.requests
            mapping = self.settings.mapping
            return with_target(server.base_url, body, quirks=self.quirks, mapping=mapping)

"""A script for ScriptedTarget: a target with Bulk and accounts in memory, whose manners a test bends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.scripted_target import Answer, Request


@dataclass
class BulkTarget:
    """whole: may answer a Bulk request instead, before anything is done. twist: what becomes of the answers of one.
    refuse: userName -> the status of a create of it. sizes: operations of each Bulk request that came.
    """

    config: dict[str, Any] = field(default_factory=dict)
    whole: Callable[[Request], Answer | None] = lambda request: None
    twist: Callable[[list[Any]], Any] = lambda entries: entries
    refuse: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"bulk": {"supported": True, **self.config}, "etag": {"supported": True}})
        if request.path == "/Bulk":
            return self._bulk(request)
        status, body = self.act(request.method, request.path, request.body)
        return Answer(status, body)

    def _bulk(self, request: Request) -> Answer:
        operations = request.body["Operations"]
        self.sizes.append(len(operations))
        if (instead := self.whole(request)) is not None:
            return instead
        entries = self.twist([self._entry(each) for each in operations])
        return entries if isinstance(entries, Answer) else Answer(body={"Operations": entries})

    def _entry(self, asked: dict[str, Any]) -> dict[str, Any]:
        status, body = self.act(asked["method"], asked["path"], asked.get("data"))
        entry = {"method": asked["method"], "status": str(status)}
        if asked["method"] == "POST":
            entry["bulkId"] = asked["bulkId"]
        if asked["method"] != "POST" or status == 201:
            entry["location"] = f"https://acme.example{asked['path'] if body is None else self._path(body)}"
        return entry if status < 300 else {**entry, "response": body}

    def _path(self, account: dict[str, Any]) -> str:
        return f"/Users/{account.get('id', 'nobody')}"

    def act(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        scim_id = path.rpartition("/")[2]
        if method == "POST":
            if status := self.refuse.get(body["userName"]):
                return status, {"status": str(status)}
            made = f"id-{next(self._ids)}"
            self.accounts[made] = {**body, "id": made}
            return 201, self.accounts[made]
        if scim_id not in self.accounts:
            return 404, {"status": "404", "id": scim_id}
        if method == "DELETE":
            del self.accounts[scim_id]
            return 204, None
        if method == "PATCH":
            for each in body["Operations"]:
                self.accounts[scim_id][each["path"]] = each["value"]
        return 200, self.accounts[scim_id]

    def names(self) -> list[str]:
        return sorted(each["userName"] for each in self.accounts.values())


def too_large(most: int) -> Callable[[Request], Answer | None]:
    """413 for more operations than that, whatever is announced."""
    return lambda request: Answer(413) if len(request.body["Operations"]) > most else None


def payload(request: Request) -> int:
    """About the size of a request, as json.dumps writes it."""
    return len(json.dumps(request.body))

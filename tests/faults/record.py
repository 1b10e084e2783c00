"""What a fault proxy saw: every request, whom it was about, what was done to it, and whether the server acted."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

_FILTER = re.compile(r'externalId eq "([^"]+)"')


TAKE_BACK_SECONDS = 30.0


@dataclass
class Exchange:
    """Times are Unix seconds. user: externalId, None where it is not known. fault: None for none. reached: whether the
    server got the request. removal: "delete" or "deactivate" when the server was asked for one and did it. status: as
    answered to scimpipe, None for no answer.
    """

    method: str
    path: str
    user: str | None
    began: float
    ended: float = 0.0
    fault: str | None = None
    reached: bool = False
    status: int | None = None
    removal: str | None = None


@dataclass
class Record:
    """Of one proxy. Written by its thread, read by the test."""

    exchanges: list[Exchange] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    created_at: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, method: str, path: str, query: str, body: Any) -> Exchange:
        exchange = Exchange(method, path, self._user(path, query, body), time.time())
        with self.lock:
            self.exchanges.append(exchange)
        return exchange

    def _user(self, path: str, query: str, body: Any) -> str | None:
        if found := _FILTER.search(unquote(query.replace("+", " "))):
            return found[1]
        if isinstance(body, dict) and isinstance(body.get("externalId"), str):
            return str(body["externalId"])
        return self.owners.get(unquote(path.rpartition("/")[2]))

    def learn(self, method: str, status: int, content: bytes) -> None:
        """Whose account an id is, from what the server really answered."""
        try:
            answer = json.loads(content)
        except ValueError:
            return
        if not isinstance(answer, dict):
            return
        for each in answer.get("Resources") or [answer]:
            if isinstance(each, dict) and each.get("id") and each.get("externalId"):
                self.owners[str(each["id"])] = str(each["externalId"])
                if method == "POST" and status == 201:
                    self.created_at[str(each["id"])] = time.time()

    def faults(self) -> Counter[str]:
        return Counter(each.fault for each in self.exchanges if each.fault)

    def removals(self) -> list[Exchange]:
        return [each for each in self.exchanges if each.removal and not self._taken_back(each)]

    def _taken_back(self, exchange: Exchange) -> bool:
        """An account that was made a moment ago, of a user who has another: nobody's access ended with it. The moment
        includes the wait for a turn to send.
        """
        scim_id = unquote(exchange.path.rpartition("/")[2])
        others = [other for other, user in self.owners.items() if user == exchange.user and other != scim_id]
        return bool(others) and exchange.began - self.created_at.get(scim_id, 0) < TAKE_BACK_SECONDS

    def statuses(self, user: str) -> set[int]:
        return {each.status for each in self.exchanges if each.user == user and each.status}

    def overlaps(self) -> list[tuple[Exchange, Exchange]]:
        """Pairs of requests about one user that were under way at the same moment."""
        last: dict[str, Exchange] = {}
        found = []
        for each in sorted(self.exchanges, key=lambda exchange: exchange.began):
            if each.user is None:
                continue
            before = last.get(each.user)
            if before is not None and (before.ended or time.time()) > each.began:
                found.append((before, each))
            if before is None or (before.ended or time.time()) < (each.ended or time.time()):
                last[each.user] = each
        return found


def removal_of(method: str, body: Any) -> str | None:
    """What a request takes away, if the server does it."""
    if method == "DELETE":
        return "delete"
    if not isinstance(body, dict):
        return None
    if method == "PUT":
        return "deactivate" if body.get("active") is False else None
    for each in body.get("Operations") or []:
        value = each.get("value")
        if each.get("path") == "active" and value is False:
            return "deactivate"
        if isinstance(value, dict) and value.get("active") is False:
            return "deactivate"
    return None

"""What a fault proxy saw: every request, whom it was about, what was done to it, and whether the server acted."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
    operation: bool = False
    found: bool = False

    @property
    def search(self) -> bool:
        return self.method == "GET" and self.path == "/Users"


@dataclass(frozen=True)
class Seen:
    """One request: its exchange, and if it is a Bulk request, name of operation -> (its exchange, what was asked)."""

    request: Exchange
    operations: dict[str, tuple[Exchange, dict[str, Any]]]

    @property
    def exchanges(self) -> list[Exchange]:
        return [self.request, *(exchange for exchange, _ in self.operations.values())]

    def answered(self, content: bytes) -> Iterator[tuple[Exchange, dict[str, Any], dict[str, Any]]]:
        """(exchange, what was asked, what was answered), for each operation that a BulkResponse answers."""
        with contextlib.suppress(ValueError, AttributeError):
            for entry in json.loads(content).get("Operations") or []:
                exchange, asked = self.operations[_name(entry, entry.get("location"))]
                yield exchange, asked, entry


def _name(operation: dict[str, Any], address: str | None) -> str:
    """By which a server tells it from the others."""
    return operation.get("bulkId") or (address or "").rpartition("/")[2]


@dataclass
class Record:
    """Of one proxy. Written by its thread, read by the test."""

    exchanges: list[Exchange] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    shown_first: set[str] = field(default_factory=set)
    created_at: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, method: str, path: str, query: str, body: Any) -> Seen:
        began = time.time()
        asked = body.get("Operations") or [] if path == "/Bulk" and isinstance(body, dict) else []
        operations = {}
        for each in asked:
            user = self._user(each["path"], "", each.get("data"))
            exchange = Exchange(each["method"], each["path"], user, began, operation=True)
            operations[_name(each, each["path"])] = (exchange, each)
        seen = Seen(Exchange(method, path, self._user(path, query, body), began), operations)
        with self.lock:
            self.exchanges.extend(seen.exchanges)
        return seen

    def acted(self, seen: Seen, body: Any, status: int, content: bytes) -> None:
        """What the server really answered."""
        shown = self.learn(seen.request.method, status, content)
        if seen.request.search and seen.request.user is None:
            self.shown_first.update(shown[:1])
        seen.request.found = seen.request.user in shown
        if status < 300 and not seen.operations:
            seen.request.removal = removal_of(seen.request.method, body)
        for exchange, asked, entry in seen.answered(content):
            if int(entry["status"]) >= 300:
                continue
            exchange.removal = removal_of(asked["method"], asked.get("data"))
            if asked["method"] == "POST" and exchange.user:
                scim_id = unquote(entry["location"].rpartition("/")[2])
                self.owners[scim_id] = exchange.user
                self.created_at[scim_id] = time.time()

    def told(self, seen: Seen, fault: str | None, status: int | None, content: bytes) -> None:
        """What scimpipe was told: of an operation its own status, as far as that was told."""
        for exchange in seen.exchanges:
            exchange.fault, exchange.status = fault, status
        for exchange, _, entry in seen.answered(content) if status == 200 else ():
            exchange.status = int(entry["status"])

    def _user(self, path: str, query: str, body: Any) -> str | None:
        if found := _FILTER.search(unquote(query.replace("+", " "))):
            return found[1]
        if isinstance(body, dict) and isinstance(body.get("externalId"), str):
            return str(body["externalId"])
        return self.owners.get(unquote(path.rpartition("/")[2]))

    def learn(self, method: str, status: int, content: bytes) -> list[str]:
        """Whose account an id is, from what the server really answered. Gives those users, in its order."""
        shown: list[str] = []
        try:
            answer = json.loads(content)
        except ValueError:
            return shown
        if not isinstance(answer, dict):
            return shown
        for each in answer.get("Resources") or [answer]:
            if isinstance(each, dict) and each.get("id") and each.get("externalId"):
                shown.append(str(each["externalId"]))
                self.owners[str(each["id"])] = shown[-1]
                if method == "POST" and status == 201:
                    self.created_at[str(each["id"])] = time.time()
        return shown

    def faults(self) -> Counter[str]:
        return Counter(each.fault for each in self.exchanges if each.fault and not each.operation)

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
        """Pairs of requests about one user that were under way at the same moment. Of searches those beside a create, unless they
        found whom a listing had shown first: for that one anybody asks, to see whether the search shows who is there (scim.shown),
        and who is made by a Bulk request is listed before that is answered.
        """
        searches = [
            each
            for each in self.exchanges
            if each.search and not (each.found and each.user in self.shown_first)
        ]
        others = [each for each in self.exchanges if not each.search]
        creates = [each for each in others if each.method == "POST"]
        beside = _overlaps([*searches, *creates])
        return _overlaps(others) + [pair for pair in beside if not (pair[0].search and pair[1].search)]


def _overlaps(exchanges: Sequence[Exchange]) -> list[tuple[Exchange, Exchange]]:
    last: dict[str, Exchange] = {}
    found = []
    for each in sorted(exchanges, key=lambda exchange: exchange.began):
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

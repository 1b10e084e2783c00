"""Whatever a target answers to Bulk requests, each user gets exactly its own answer, or none."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scim.bulk import Bulk
from scim.bulk_limits import BulkLimits
from scim.discovery import Features
from scim.errors import NoAnswer
from scim.quirks import QuirksInMemory
from scim.transport import Answer

METHODS = ("POST", "PUT", "PATCH", "DELETE")
FATES = ("told", "lost", "twice", "numbered", "nested", "shown", "for another")


@dataclass
class Liar:
    """In place of a transport. plan: of each user (method, status, fate). told: users whose answer is in an answer, and
    nothing that contradicts it. acted: users by the times their write arrived.
    """

    plan: list[tuple[str, int, str]]
    whole: list[int]
    random: random.Random
    told: set[int] = field(default_factory=set)
    acted: list[int] = field(default_factory=list)

    async def features(self) -> Features:
        return Features(announced=True, bulk=True, max_operations=7, max_payload_bytes=2000)

    async def request(
        self, method: str, path: str, *, body: Any = None, content: Any = None, **_: Any
    ) -> Answer:
        if content is None:
            return self._alone(path, body)
        operations = json.loads(content())["Operations"]
        await asyncio.sleep(0)
        if self.whole and (status := self.whole.pop()) != 200:
            return Answer(status, {})
        entries = [entry for each in operations for entry in self._entries(each)]
        if self.random.random() < 0.5:
            self.random.shuffle(entries)
        if self.random.random() < 0.3:
            entries.append(
                {"method": "POST", "bulkId": "9999", "status": "201", "location": "/Users/stranger"}
            )
        return Answer(200, {}, {"Operations": entries})

    def _number(self, path: str, body: Any) -> int:
        return int(body["user"] if path == "/Users" else path.rpartition("-")[2])

    def _alone(self, path: str, body: Any) -> Answer:
        number = self._number(path, body)
        self.acted.append(number)
        self.told.add(number)
        return Answer(self.plan[number][1], {}, {"id": f"u-{number}", "user": number})

    def _entries(self, operation: dict[str, Any]) -> list[dict[str, Any]]:
        number = self._number(operation["path"], operation.get("data"))
        self.acted.append(number)
        method, status, fate = self.plan[number]
        entry: dict[str, Any] = {"method": method, "status": str(status)}
        entry |= (
            {"bulkId": operation["bulkId"]} if method == "POST" else {"location": f"/v2{operation['path']}"}
        )
        if method == "POST" and status == 201:
            entry["location"] = f"/v2/Users/u-{number}"
        match fate:
            case "lost":
                return []
            case "twice":
                return [entry, {**entry, "status": "404"}]
            case "for another":
                return [{**entry, **({"bulkId": "x"} if method == "POST" else {"location": "/Users/u-9999"})}]
            case "numbered":
                entry["status"] = status
            case "nested":
                entry["status"] = {"code": str(status)}
            case "shown" if status < 300 and method != "DELETE":
                entry["response"] = {"id": f"u-{number}", "user": number}
        self.told.add(number)
        return [entry]


users = st.lists(
    st.tuples(st.sampled_from(METHODS), st.sampled_from([201, 409, 412, 404, 500]), st.sampled_from(FATES)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    plan=users,
    whole=st.lists(st.sampled_from([200, 200, 413, 400, 404, 500, 429])),
    seed=st.integers(0, 2**32),
)
def test_each_user_gets_its_own_answer_or_none(plan, whole, seed):
    liar = Liar(plan, whole, random.Random(seed))
    refused = 500 in whole or 429 in whole

    async def one(bulk: Bulk, number: int) -> Any:
        for _ in range(liar.random.randrange(4)):
            await asyncio.sleep(0)
        method = plan[number][0]
        path, body = (
            ("/Users", {"user": number}) if method == "POST" else (f"/Users/u-{number}", {"x": "y" * 100})
        )
        return await bulk.write(method, path, None if method == "DELETE" else body)

    async def run() -> list[Any]:
        bulk = Bulk(liar, BulkLimits(liar, QuirksInMemory(), 30))
        works = (one(bulk, number) for number in range(len(plan)))
        found = await asyncio.wait_for(asyncio.gather(*works, return_exceptions=True), 20)
        await bulk.close()
        return found

    for number, outcome in enumerate(asyncio.run(run())):
        if number not in liar.told:
            assert isinstance(outcome, NoAnswer) or (refused and outcome.status in {500, 429})
            continue
        method, status, _ = plan[number]
        expected = 204 if status == 201 and method in {"PUT", "PATCH"} and not outcome.body else status
        assert outcome.status == expected
        if status == 201 and outcome.body:
            assert outcome.body["id"] == f"u-{number}"
    assert len(liar.acted) == len(set(liar.acted)), "no write arrives twice"

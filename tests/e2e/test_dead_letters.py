"""Dead letters, as the people meet them who have to do something about them."""

from __future__ import annotations

import time
from typing import Any

from tests.support.pipeline import Pipeline, pipeline
from tests.support.scripted_target import Answer, Request, ScriptedTarget

SECTION = """
[targets.main.limits]
max_attempts = 2
[targets.main.manual]
operations = ["create", "update"]
[targets.main.scheduled]
operations = ["create", "update"]
cron = "0 0 1 1 *"
"""


class Refusing:
    """A target that makes accounts, but for users who are refused: user name -> answer."""

    def __init__(self) -> None:
        self.refused: dict[str, Answer] = {}
        self.made: list[str] = []

    def __call__(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer(200, {"totalResults": 0, "Resources": []})
        name = request.body["userName"]
        if name in self.refused:
            return self.refused[name]
        self.made.append(name)
        return Answer(201, {**request.body, "id": f"id-{name}"})


def letters(running: Pipeline, *options: str) -> dict[str, Any]:
    return {each["user"]: each for each in running.run("dead-letters", "list", *options)}


def test_dead_letters_from_first_failure_to_success(tmp_path):
    target = Refusing()
    error = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "400",
        "scimType": "invalidValue",
    }
    with (
        ScriptedTarget(target) as server,
        pipeline("sqlite", tmp_path, {"main": SECTION}, lambda _: server.base_url) as running,
    ):
        people = {
            name: running.site.add_user(name, f"{name}@example.org") for name in ("ann", "bob", "cat", "dan")
        }
        target.refused = {
            "ann": Answer(400, error), "bob": Answer(500, "oops"), "cat": Answer(403, error), "dan": Answer(413, error),
        }  # fmt: skip
        running.start("worker", "scheduler")
        running.workers_ready()
        running.run("sync", code=1)
        found = letters(running)
        assert {uuid: each["status_code"] for uuid, each in found.items()} == {
            people["ann"]: 400, people["bob"]: 500, people["cat"]: 403, people["dan"]: 413,
        }  # fmt: skip
        assert found[people["bob"]]["attempts"] == 2
        assert "gave up after 2 attempts" in found[people["bob"]]["detail"]
        assert found[people["ann"]]["scim_type"] == "invalidValue"
        assert "a value is missing or not accepted" in found[people["ann"]]["detail"]

        # One a user, however often it fails; the first time stays, the last one moves.
        time.sleep(1.1)
        running.run("dead-letters", "retry", "ann")
        running.until(
            lambda: letters(running)[people["ann"]]["last_failed_at"] > found[people["ann"]]["last_failed_at"]
        )
        again = letters(running)
        assert len(again) == 4
        assert again[people["ann"]]["first_failed_at"] == found[people["ann"]]["first_failed_at"]

        # A filter: those with one status.
        target.refused = {}
        assert set(letters(running, "--status", "403")) == {people["cat"]}
        assert running.run("dead-letters", "retry", "--status", "403")["users"] == 1
        running.until(lambda: people["cat"] not in letters(running))
        assert "cat" in target.made
        assert set(letters(running)) == {people["ann"], people["bob"], people["dan"]}

        # One is discarded, which provisions nobody; all others are tried again.
        assert running.run("dead-letters", "discard", "dan")["users"] == 1
        assert running.run("dead-letters", "retry", "--all")["users"] == 2
        running.until(lambda: letters(running) == {})
        assert sorted(target.made) == sorted({"ann", "bob", "cat", *target.made} - {"dan"})
        assert running.run("dead-letters", "retry", "--status", "403", code=1)["users"] == 0
        assert running.redis().ttl("scimpipe:{main}:failed") < 0

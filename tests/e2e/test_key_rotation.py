"""A new digest key (docs/security.md, maintenance): everybody is sent once more, and nothing else happens."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.pipeline import pipeline, scim2_server

SECTION = """
[targets.main.scheduled]
operations = ["create", "update", "deactivate", "delete"]
cron = "0 0 1 1 *"
"""


def test_a_new_digest_key_sends_everybody_once(tmp_path):
    with ExitStack() as stack:
        address = stack.enter_context(scim2_server(tmp_path, ["main"]))
        running = stack.enter_context(pipeline("sqlite", tmp_path, {"main": SECTION}, address))
        for number in range(8):
            running.site.add_user(f"user{number}", f"user{number}@example.org", department="D")
        running.start("worker")
        running.workers_ready()
        made = running.run("sync")["created"]
        assert made >= 8
        before = running.accounts("main")
        client = running.redis()
        key = client.get("scimpipe:key")
        assert client.delete("scimpipe:key") == 1
        again = running.run("sync")
        assert (again["outcome"], again["updated"], again["created"], again["deleted"]) == (
            "done",
            made,
            0,
            0,
        )
        assert client.get("scimpipe:key") not in {None, key}
        client.close()
        assert running.accounts("main").keys() == before.keys()
        assert running.run("sync")["unchanged"] == made

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
        former = {user.name: user.uuid for user in running.site.users()}["user0"]
        running.site.block(former)
        assert running.run("sync")["deactivated"] == 1
        before = running.accounts("main")
        client = running.redis()
        key = client.get("scimpipe:key")
        assert client.delete("scimpipe:key") == 1
        again = running.run("sync")
        assert again["outcome"] == "done"
        # Whoever left before is sent the name once more, and not deactivated: that would use up what the guard allows in an hour.
        counters = ("updated", "created", "deactivated", "deleted")
        assert [again[name] for name in counters] == [made, 0, 0, 0]
        assert client.get("scimpipe:key") not in {None, key}
        client.close()
        after = running.accounts("main")
        assert (after.keys(), after[former]["active"]) == (before.keys(), False)
        assert running.run("sync")["unchanged"] == made

"""The life of users, attribute by attribute, on each database with scim2-server and on SQLite with SCIMMY too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.databases import KINDS
from tests.support.in_step import ENTERPRISE, assert_in_step, assert_in_step_of
from tests.support.pipeline import TOKEN, Pipeline, pipeline, scim2_server

SECTION = """
scope = "'left' not in roles"
[targets.main.leavers]
blocked = "deactivate"
deleted = "delete"
out_of_scope = "deactivate"
[targets.main.guard]
max_removal_percent = 100
[targets.main.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.main.scheduled]
operations = ["create", "update", "deactivate", "delete"]
cron = "0 0 1 1 *"
"""
SERVERS = [*(f"scim2-{kind}" for kind in KINDS), "scimmy-sqlite"]


@pytest.fixture(scope="module", params=SERVERS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("life")
    server, kind = request.param.split("-")
    if server == "scimmy":
        from tests.support.scimmy import scimmy_server

        with (
            scimmy_server(token=TOKEN) as scimmy,
            pipeline(kind, folder, {"main": SECTION}, lambda _: scimmy.base_url, people=40) as running,
        ):
            yield from started(running)
        return
    with (
        scim2_server(folder, ["main"]) as address,
        pipeline(kind, folder, {"main": SECTION}, address, people=40) as running,
    ):
        yield from started(running)


def started(running: Pipeline) -> Iterator[Pipeline]:
    running.start("worker")
    running.workers_ready()
    yield running


def test_a_first_sync_brings_everybody_attribute_by_attribute(world):
    result = world.run("sync")
    assert (result["outcome"], result["failed"]) == ("done", 0)
    assert result["created"] == len(world.accounts("main"))
    assert_in_step(world)


def test_a_second_sync_sends_nothing(world):
    world.run("sync")
    result = world.run("sync")
    assert result["requests"] == 0
    assert result["unchanged"] == result["scanned"]


def test_a_dry_run_says_what_a_sync_then_does(world):
    uuid = world.site.add_user("dry", "dry@example.test")
    planned = world.run("sync", "--dry-run")["planned"]
    assert [(each["user"], each["operation"]) for each in planned] == [(uuid, "create")]
    assert uuid not in world.accounts("main")
    world.run("sync")
    assert uuid in world.accounts("main")


def test_a_person_finds_previews_and_provisions_a_user(world):
    uuid = world.site.add_user("Zoë O'Brien", "zoe@example.test", first_name='Zoë "Z"', department="R&D <b>")
    assert [row["user"] for row in world.run("users", "zoë")] == [uuid]
    preview = world.run("preview", "Zoë O'Brien")
    assert (preview["situation"], preview["operation"]) == ("absent", "create")
    assert preview["resource"]["name"]["givenName"] == 'Zoë "Z"'
    (result,) = world.run("provision", "zoe@example.test")
    assert (result["user"], result["operation"], result["outcome"]) == (uuid, "create", "done")
    assert result["scim_id"] == world.accounts("main")[uuid]["id"]
    assert world.run("preview", uuid)["situation"] == "confirmed"
    assert [row["externalId"] for row in world.run("remote", "Zoë O'Brien")] == [uuid]
    world.site.edit(uuid, department=None)
    (result,) = world.run("provision", uuid)
    assert result["changes"] == [f"{ENTERPRISE}:department"]
    assert_in_step_of(world, uuid)


def test_a_renamed_user_keeps_the_account(world):
    uuid = world.site.add_user("before", "rename@example.test")
    world.run("provision", uuid)
    scim_id = world.accounts("main")[uuid]["id"]
    world.site.edit(uuid, name="after", mail="Renamed@Example.test")
    world.run("provision", uuid)
    account = world.accounts("main")[uuid]
    assert (account["id"], account["userName"]) == (scim_id, "after")
    assert_in_step_of(world, uuid)


def test_a_user_made_anew_with_an_old_name_is_somebody_else(world):
    old = world.site.add_user("phoenix", "phoenix@example.test")
    world.run("provision", old)
    scim_id = world.accounts("main")[old]["id"]
    world.site.delete(old)
    new = world.site.add_user("phoenix", "phoenix@example.test")
    world.run("sync", code=None)
    world.until(lambda: new in world.accounts("main") and old not in world.accounts("main"), 60)
    assert world.accounts("main")[new]["id"] != scim_id


def test_blocked_and_unblocked(world):
    uuid = world.site.add_user("blocky", "blocky@example.test")
    world.run("provision", uuid)
    world.site.block(uuid)
    assert world.run("provision", uuid)[0]["operation"] == "deactivate"
    assert world.accounts("main")[uuid]["active"] is False
    world.site.unblock(uuid)
    world.site.edit(uuid, first_name="Back")
    assert world.run("provision", uuid)[0]["operation"] == "update"
    assert_in_step_of(world, uuid)


def test_leaving_scope_and_coming_back(world):
    uuid = world.site.add_user("scoped", "scoped@example.test")
    world.run("provision", uuid)
    world.site.edit(uuid, roles=["left"])
    world.run("sync")
    assert world.accounts("main")[uuid]["active"] is False
    world.site.edit(uuid, roles=["editor"])
    world.run("sync")
    assert_in_step_of(world, uuid)


def test_accounts_that_are_there_already_are_taken_over_and_never_doubled(world):
    uuid = world.site.add_user("settled", "settled@example.test", first_name="New")
    body = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "Settled",
        "nickName": "kept",
    }
    world.http(
        "POST", "main", "/Users", json={**body, "emails": [{"type": "home", "value": "home@example.test"}]}
    )
    (result,) = world.run("provision", uuid)
    assert (result["operation"], result["outcome"]) == ("update", "done")
    account = world.accounts("main")[uuid]
    assert account["nickName"] == "kept"
    assert {each["value"] for each in account["emails"]} == {"home@example.test", "settled@example.test"}


def test_an_account_with_another_external_id_is_refused_and_explained(world):
    uuid = world.site.add_user("claimed", "claimed@example.test")
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "claimed"}
    made = world.http("POST", "main", "/Users", json={**body, "externalId": "somebody-else"}).json()
    (result,) = world.run("provision", uuid, code=1)
    assert result["outcome"] == "failed"
    (letter,) = [each for each in world.run("dead-letters", "list") if each["user"] == uuid]
    assert "externalId" in letter["detail"]
    world.http("DELETE", "main", f"/Users/{made['id']}")
    assert world.run("dead-letters", "retry", uuid)["users"] == 1
    world.until(lambda: uuid in world.accounts("main"))
    world.until(lambda: uuid not in [each["user"] for each in world.run("dead-letters", "list")])


def test_drift_is_repaired_and_orphans_wait_for_a_person(world):
    uuid = world.site.add_user("drifter", "drifter@example.test", first_name="Right")
    lost = world.site.add_user("vanished", "vanished@example.test")
    world.run("sync", code=None)
    account = world.accounts("main")[uuid]
    world.http(
        "PUT",
        "main",
        f"/Users/{account['id']}",
        json={**account, "name": {**account["name"], "givenName": "Wrong"}},
    )
    world.http("DELETE", "main", f"/Users/{world.accounts('main')[lost]['id']}")
    orphan = "0c000000-0000-4000-8000-00000000000c"
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "orphan", "active": True}
    world.http("POST", "main", "/Users", json={**body, "externalId": orphan})
    result = world.run("sync", "--verify", code=None)
    assert uuid in result["verified"]["drifted"]
    assert lost in result["verified"]["missing"]
    assert_in_step_of(world, uuid)
    assert_in_step_of(world, lost)
    assert [each["user"] for each in world.run("held", "list")] == [orphan]
    assert orphan in world.accounts("main")
    assert world.run("held", "approve", orphan)["users"] == 1
    world.until(lambda: orphan not in world.accounts("main"))


def test_drift_is_repaired_though_a_full_sync_is_under_way(world):
    """Which may have compared the user before."""
    uuid = world.site.add_user("late", "late@example.test", first_name="Right")
    world.run("sync", code=None)
    account = world.accounts("main")[uuid]
    wrong = {**account, "name": {**account["name"], "givenName": "Wrong"}}
    world.http("PUT", "main", f"/Users/{account['id']}", json=wrong)
    redis = world.redis()
    redis.hdel(f"scimpipe:{{main}}:run:{redis.get('scimpipe:{main}:run').decode()}", "finished_at")
    assert uuid in world.run("sync", "--verify", "--timeout", "20", code=None)["verified"]["drifted"]
    assert_in_step_of(world, uuid)


def accounts_of(world, uuid):
    resources = world.resources("main")
    return [
        (each["userName"], each.get("active", True)) for each in resources if each.get("externalId") == uuid
    ]


def test_verify_finds_accounts_nobody_remembers(world):
    """After Redis was lost in the middle of a create: one of a user who was blocked meanwhile, and a second one."""
    blocked = world.site.add_user("blocked", "blocked@example.test", status=False)
    double = world.site.add_user("double", "double@example.test")
    world.run("provision", blocked, double)
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "active": True}
    world.http("POST", "main", "/Users", json={**body, "userName": "blocked", "externalId": blocked})
    made = {**body, "userName": "former name", "externalId": double}
    second = world.http("POST", "main", "/Users", json=made).json()["id"]
    result = world.run("sync", "--verify", code=None)
    assert {blocked, double} <= set(result["verified"]["unlinked"])
    assert accounts_of(world, blocked) == [("blocked", False)]
    (letter,) = (each for each in world.run("dead-letters", "list") if each["user"] == double)
    assert "2 accounts on the target" in letter["detail"]
    world.http("DELETE", "main", f"/Users/{second}")
    world.run("dead-letters", "retry", double)
    world.until(lambda: world.run("status")["targets"]["main"]["pending"] == 0)
    assert accounts_of(world, double) == [("double", True)]
    assert [each["user"] for each in world.run("dead-letters", "list") if each["user"] == double] == []


def test_losing_redis_doubles_nobody_and_writes_nothing(world):
    world.run("sync", code=None)
    world.until(lambda: world.run("status")["targets"]["main"]["pending"] == 0)
    before = world.accounts("main")
    world.redis().flushall()
    world.until(lambda: world.run("status")["workers"] >= 2)
    result = world.run("sync", code=None)
    after = world.accounts("main")
    assert {key: each.get("meta", {}).get("version") for key, each in after.items()} == {
        key: each.get("meta", {}).get("version") for key, each in before.items()
    }
    assert (result["created"], result["updated"], result["deactivated"], result["deleted"]) == (0, 0, 0, 0)
    assert world.run("sync", code=None)["requests"] == 0


def test_no_value_and_no_token_is_in_redis_or_in_the_logs(world):
    canary = "canary-7f3a"
    uuid = world.site.add_user(canary, f"{canary}@example.test", first_name=canary, department=canary)
    world.run("provision", uuid)
    world.http(
        "POST",
        "main",
        "/Users",
        json={
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": f"{canary}2",
            "externalId": "x",
        },
    )
    other = world.site.add_user(f"{canary}2", f"{canary}2@example.test")
    world.run("provision", other, code=1)
    log = (world.folder / "processes.log").read_text()
    assert uuid in log
    assert canary not in log
    assert TOKEN not in log
    client = world.redis()
    for key in client.scan_iter(count=1000):
        dumped = client.dump(key) or b""
        assert canary.encode() not in dumped, key
        assert TOKEN.encode() not in dumped, key
    command_lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in command_lines.splitlines() if "cli.main" in line or "workers.main" in line]
    assert ours
    assert all(TOKEN not in line for line in ours)

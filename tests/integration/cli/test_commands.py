"""What a person sees who mistypes, or whose parts are down: a sentence, an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from tests.support.scim_server import scim_server

# Put in the place of a field.
SCHEDULED = """name"
[targets.acme.scheduled]
operations = ["create"]
cron = "0 0 1 1 *"""
BETA = """name"
[targets.beta]
base_url = "http://127.0.0.1:9/beta"
token = { env = "ACME_TOKEN" }
[targets.beta.mapping]
userName = "name"
[targets.beta.scheduled]
operations = ["create"]
cron = "0 0 1 1 *"""


def test_check_reports_every_problem_at_once(run):
    done = run("check", "--json", field="field_nmae | lowr")
    document = json.loads(done.stdout)
    failed = {each["name"]: each["detail"] for each in document["checks"] if not each["ok"]}
    assert not document["ok"]
    assert done.returncode == 3
    assert "cannot be reached" in failed["acme: credentials"]
    assert "did you mean lower" in failed["acme: mapping"]
    assert {each["name"] for each in document["checks"] if each["ok"]} >= {"config", "redis", "drupal"}


def test_check_names_an_unknown_drupal_field_and_the_nearest(run):
    done = run("check", "--json", field="field_first_nam")
    details = [each["detail"] for each in json.loads(done.stdout)["checks"] if not each["ok"]]
    assert any("field_first_nam" in each and "did you mean field_first_name?" in each for each in details)


def test_check_names_an_unset_token(run):
    done = run("check", "--json", token="")
    assert "ACME_TOKEN is not set" in done.stdout


@pytest.mark.parametrize("command", [["status"], ["users"], ["sync"], ["history"], ["provision", "anna"]])
def test_redis_that_is_down_is_told(run, command):
    done = run(*command, redis="redis://127.0.0.1:9/0")
    assert done.returncode == 3
    assert "redis://127.0.0.1:9/0 cannot be reached" in done.stderr


@pytest.mark.parametrize("command", [["users"], ["provision", "anna"], ["fields"]])
def test_drupal_that_is_down_is_told(run, command):
    done = run(*command, drupal="mysql+pymysql://nobody@127.0.0.1:9/none")
    assert done.returncode == 3
    assert done.stderr.strip()


def test_a_wrong_config_is_usage(run):
    done = run("status", redis="memcached://x")
    assert done.returncode == 2
    assert "redis.url" in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["provision", "nobody"], "no Drupal user"),
        (["provision", "anna", "--operation", "updat"], "did you mean update?"),
        (["preview", "anna", "--target", "acm"], "did you mean acme?"),
        (["sync", "acm"], "did you mean acme?"),
        (["sync"], "targets.acme.scheduled"),
        (["history", "--since", "yesterday"], "30m, 12h or 7d"),
        (["history", "ana"], "ana: no Drupal user has this"),
        (["history", "--outcome", "good"], "done, unchanged"),
        (["dead-letters", "retry"], "or --all"),
        (["held", "approve", "anna", "--all"], "or --all"),
        (["worker", "--lane", "fast"], "interactive, bulk or both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_says_what_to_write(run, command, words):
    done = run(*command)
    assert done.returncode == 2
    assert words in done.stderr


def test_nobody_of_another_site_is_provisioned(run, redis_url):
    """Once drupal.url is put right they would be gone, and their accounts, of another scimpipe's, removed."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.set("scimpipe:{@drupal}:site", "0f000000-0000-4000-8000-000000000001")
        done = run("provision", "anna", "--no-wait")
        assert (done.returncode, "another Drupal site uses this Redis" in done.stderr) == (3, True)
        assert not client.exists("scimpipe:{acme}:jobs")


@pytest.mark.parametrize("command", [["dead-letters", "retry"], ["held", "reject"]], ids=" ".join)
def test_whoever_is_not_on_the_list_is_named(run, command):
    done = run(*command, "anna", "nobody")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["anna", "nobody"]
    assert f"`scimpipe {command[0]} list`" in done.stderr


def test_ctrl_c_ends_the_questions_of_init(folder):
    ours, theirs = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "init"],
        cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"[database]" not in said:
        said += os.read(ours, 1000)
    # Until it waits for the answer.
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    # Linux: that is the end of a terminal whose other side is closed.
    with suppress(OSError):
        while more := os.read(ours, 1000):
            said += more
    assert b"report" not in said
    assert not (folder / "scimpipe.toml").exists()


def test_waiting_without_a_worker_is_said_at_once_and_the_user_is_enqueued(run):
    done = run("provision", "anna")
    assert done.returncode == 4
    assert "no worker is running" in done.stderr
    assert json.loads(run("status", "--json").stdout)["targets"]["acme"]["pending"] == 1


def test_no_wait_enqueues_and_pause_and_resume_show_in_the_status(run):
    (row,) = json.loads(run("provision", "anna", "--no-wait", "--json").stdout)
    assert row["outcome"] == "pending"
    assert json.loads(run("pause", "acme", "--json").stdout)["health"] == "paused"
    assert json.loads(run("status", "--json").stdout)["targets"]["acme"]["health"] == "paused"
    assert json.loads(run("resume", "acme", "--json").stdout)["health"] == "ok"


def test_a_sync_of_all_targets_leaves_out_those_whose_trigger_is_off(run):
    done = run("sync", "--no-wait", "--json", field=BETA)
    assert (done.returncode, json.loads(done.stdout)["target"]) == (0, "beta")
    assert "acme: its scheduled trigger is off, so it is left out" in done.stderr
    named = run("sync", "acme", "--no-wait", field=BETA)
    assert (named.returncode, "scheduled trigger of acme is off" in named.stderr) == (2, True)


def test_up_once_looks_once_though_no_time_is_given(run):
    with scim_server() as server:
        parts = {"target": server.base_url, "field": SCHEDULED}
        assert run("up", "--once", **parts).returncode == 0
        nothing_to_do = run("up", "--once", "--timeout", "0", **parts)
        assert ("acme: done" in nothing_to_do.stdout, nothing_to_do.returncode) == (True, 0)


def test_a_sync_whose_process_was_killed_is_taken_over_by_whoever_waits_for_it(run, redis_url):
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    client.hset("scimpipe:{acme}:run:dead", mapping={"started_at": 1, "cursor": 0})
    client.set("scimpipe:{acme}:run", "dead")
    # Longer than it takes a command to start beside other tests.
    client.set("scimpipe:{acme}:scanner", "killed", px=8000)
    client.set("scimpipe:process:worker:one", "1")
    done = run("sync", "acme", "--timeout", "12", "--json", field=SCHEDULED)
    assert "is under way already (dead)" in done.stderr
    # It was begun by another config, so that it is another sync that is waited for in the end.
    assert "compares by another config" in done.stderr
    begun = json.loads(done.stdout)["run_id"]
    assert client.hget(f"scimpipe:{{acme}}:run:{begun}", "scanned_all") == "1"
    assert client.hget("scimpipe:{acme}:run:dead", "error")


@pytest.mark.parametrize("since", ["99999999999d", "1901-01-01", "9999-12-30"])
def test_a_moment_beyond_all_times_is_no_error(run, since):
    done = run("history", "--since", since, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_the_history_of_a_uuid_needs_no_drupal(run):
    """Somebody who is gone is in the history alone; and a site that is down is when people look."""
    uuid = "0b5e55ed-0000-4000-8000-000000000001"
    for drupal in ("sqlite:///site.sqlite", "mysql+pymysql://nobody@127.0.0.1:9/none"):
        done = run("history", uuid, "--json", drupal=drupal)
        assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_a_time_zone_that_nobody_knows_is_told(run, monkeypatch):
    monkeypatch.setenv("TZ", "Utopia/Capital")
    done = run("check", field=SCHEDULED)
    assert done.returncode in {2, 3}
    assert "TZ names no time zone" in done.stdout + done.stderr


def test_an_argument_that_is_no_text_is_told(run):
    done = run("users", os.fsdecode(b"\xff"))
    assert (done.returncode, "is no text in UTF-8" in done.stderr) == (2, True)


def test_a_secret_that_is_no_text_is_told(run, folder):
    (folder / "token").write_bytes(b"\xff\xfe\x00")
    run("status")
    file = folder / "scimpipe.toml"
    file.write_text(file.read_text().replace('env = "ACME_TOKEN"', 'file = "token"'))
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "check"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "token is not UTF-8 text" in done.stdout + done.stderr


def test_init_writes_a_file_that_check_can_read_and_never_over_another(tmp_path):
    command = [sys.executable, "-m", "cli.main"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    first = subprocess.run(
        [*command, "init"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert first.returncode == 0
    assert "MINIORANGE_TOKEN" in first.stdout
    again = subprocess.run(
        [*command, "init"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("started", "spared"),
    [
        ("cli.main", "redis httpx sqlalchemy dramatiq scim2_models json secrets hashlib"),
        ("workers.main", "scim2_models"),
        ("producers.main", "aiohttp httpx sqlalchemy scim2_models"),
    ],
)
def test_a_start_is_quick_because_it_loads_nothing_it_may_never_need(started, spared):
    code = f"import sys, {started}; print(*[m for m in '{spared}'.split() if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")

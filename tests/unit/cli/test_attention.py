"""What `status` says of a scimpipe that seems well."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from cli import attention
from config.digest import config_digest
from config.loading import load
from config.settings import Settings
from state.polls import Polled
from state.processes import Announced

CONFIG = """
[drupal]
url = "sqlite:///site.sqlite"
poll_seconds = {poll_seconds}
[targets.acme]
base_url = "https://acme.example/scim"
token = {{ env = "{token}" }}
adopt = "{adopt}"
[targets.acme.mapping]
userName = "name"
[targets.acme.automatic]
operations = ["deactivate", "create", "update"]
[targets.acme.scheduled]
operations = ["create"]
cron = "0 2 * * *"
"""
BOTH = ("bulk", "interactive")


def settings(folder: Path, *, poll_seconds: int = 5, token: str = "T", adopt: str = "unclaimed") -> Settings:
    file = folder / "scimpipe.toml"
    file.write_text(CONFIG.format(poll_seconds=poll_seconds, token=token, adopt=adopt))
    return load(file)


def of_processes(known: Settings, *workers: Announced, scheduler: int = 1, changes: int = 1) -> list[str]:
    digest = config_digest(known)
    others = Announced(digest)
    alive = {"worker": workers, "scheduler": (others,) * scheduler, "changes": (others,) * changes}
    return list(attention.of_processes(known, alive, digest))


def test_processes_of_another_config_are_told_and_where_secrets_lie_makes_it_no_other(tmp_path):
    known = settings(tmp_path)
    here, elsewhere = config_digest(known), config_digest(settings(tmp_path, token="OF_ANOTHER_MACHINE"))
    edited = config_digest(settings(tmp_path, adopt="never"))
    assert of_processes(known, Announced(here, BOTH), Announced(elsewhere, BOTH)) == []
    moved = known.model_copy(update={"drupal": known.drupal.model_copy(update={"table_prefix": "copy_"})})
    assert config_digest(moved) != here
    (told,) = of_processes(known, Announced(here, BOTH), Announced(edited, BOTH), Announced("1", BOTH))
    assert told.startswith("2 of 3 worker processes")
    assert "restart" in told


@pytest.mark.parametrize(
    ("lanes", "word"), [(("bulk",), "--lane interactive"), (("interactive",), "--lane bulk")]
)
def test_a_lane_without_a_worker_is_told(tmp_path, lanes, word):
    known = settings(tmp_path)
    (told,) = of_processes(known, Announced(config_digest(known), lanes))
    assert word in told
    assert of_processes(known) == [], "that there is none at all is told by itself"
    former = of_processes(known, Announced("1"), Announced(config_digest(known), lanes))
    assert word not in " ".join(former), "whose lanes are not known"


def test_a_process_that_is_missing_is_told_where_it_is_wanted(tmp_path):
    known = settings(tmp_path)
    told = of_processes(known, scheduler=0, changes=0)
    assert ["`scimpipe scheduler`" in told[0], "`scimpipe changes`" in told[1]] == [True, True]
    assert len(of_processes(settings(tmp_path, poll_seconds=0), scheduler=0, changes=0)) == 1


@pytest.mark.parametrize(
    ("ended", "failing", "running", "word"),
    [
        (1, None, True, None),
        (400, None, True, "has come to an end"),
        (400, None, False, None),
        (400, 300, True, "polls of change detection fail"),
        (400, 300, False, None),
        (400, 20, True, None),
        (None, None, True, None),
    ],
    ids=["well", "late", "not running", "failing", "has failed", "failed once", "just begun"],
)
def test_polls_that_come_to_no_end_are_told(tmp_path, ended, failing, running, word):
    now = time.time()
    polled = Polled(
        now - ended if ended else None, now - failing if failing else None, "a page is incomplete"
    )
    told = list(attention.of_polls(settings(tmp_path), polled, running))
    assert len(told) == (word is not None)
    assert word is None or word in told[0]


@pytest.mark.parametrize(
    ("hours_ago", "at", "error", "words"),
    [
        (1, "then", None, []),
        (30, "then", None, ["has not been started"]),
        (30, None, None, ["is still under way"]),
        (1, None, "Drupal does not answer", ["cannot go on: Drupal does not answer"]),
    ],
    ids=["well", "missed", "skipped", "failing"],
)
def test_full_syncs_that_do_not_happen_are_told(tmp_path, hours_ago, at, error, words):
    now = dt.datetime.now().astimezone()
    cron_at = now - dt.timedelta(hours=2)
    text = CONFIG.replace("0 2 * * *", f"{cron_at.minute} {cron_at.hour} * * *")
    (tmp_path / "scimpipe.toml").write_text(text.format(poll_seconds=5, token="T", adopt="never"))
    begun = (now - dt.timedelta(hours=hours_ago)).isoformat(timespec="seconds")
    shown = {"acme": {"last_run": {"started_at": begun, "at": at, "error": error}}, "new": {"last_run": None}}
    told = list(attention.of_full_syncs(load(tmp_path / "scimpipe.toml"), shown))
    assert len(told) == len(words)
    assert all(word in line for word, line in zip(words, told, strict=True))


@pytest.mark.parametrize("early", [0, 1], ids=["at the second", "by another clock"])
def test_a_full_sync_that_cron_began_was_not_missed(tmp_path, early):
    cron_at = (dt.datetime.now().astimezone() - dt.timedelta(hours=2)).replace(second=0, microsecond=0)
    text = CONFIG.replace("0 2 * * *", f"{cron_at.minute} {cron_at.hour} * * *")
    (tmp_path / "scimpipe.toml").write_text(text.format(poll_seconds=5, token="T", adopt="never"))
    begun = (cron_at - dt.timedelta(seconds=early)).isoformat(timespec="seconds")
    shown = {"acme": {"last_run": {"started_at": begun, "at": "then", "error": None}}}
    assert list(attention.of_full_syncs(load(tmp_path / "scimpipe.toml"), shown)) == []

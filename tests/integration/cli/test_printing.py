"""What a command prints, and whoever or whatever it is printed to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo.site import DrupalSite


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_whoever_reads_may_go_and_a_full_disk_is_told(run, folder, form):
    run("users", *form)
    environment = {**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": str(Path(__file__).parents[3])}
    here, there = os.pipe()
    os.close(here)
    for stream, told in (
        (there, ""),
        (os.open("/dev/full", os.O_WRONLY), "cannot be written: No space left"),
    ):
        command = [sys.executable, "-m", "cli.main", "users", *form]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=60
        )
        os.close(stream)
        assert done.returncode == 1
        assert (told in done.stderr) if told else (done.stderr == "")
        assert "report" not in done.stderr
        assert "Exception" not in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_that_cannot_be_printed_is_told_in_a_sentence(argument):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "cli.main", argument]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        "what this prints cannot be written: No space left on device\n",
    )


def test_ctrl_c_while_the_command_is_still_loaded_shows_no_traceback():
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_name_that_a_terminal_has_no_characters_for_is_written_out(run, folder, monkeypatch, encoding):
    site = DrupalSite.open(f"sqlite:///{folder}/site.sqlite")
    site.add_user("山田", "taro@example.test")
    site.close()
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    assert "\\u5c71\\u7530" in run("users", "taro").stdout
    (row,) = json.loads(run("users", "taro", "--json").stdout)
    assert row["name"] == "山田"


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [(["users"], 0), (["users", "--json"], 0), (["sync"], 2)])
def test_what_goes_to_a_stream_that_is_closed_is_not_wanted(run, folder, closed, command, code):
    run("users")
    environment = {**os.environ, "ACME_TOKEN": "token", "PYTHONPATH": str(Path(__file__).parents[3])}
    started = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "cli.main", *command]
    done = subprocess.run(started, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "report" in done.stderr, "Traceback" in done.stderr) == (code, False, False)

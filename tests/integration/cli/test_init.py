"""`scimpipe init` at a terminal: what it asks again, what it refuses before it asks, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from config.loading import load

COMMAND = [str(Path(sys.executable).with_name("scimpipe")), "init"]
KIND, DATABASE, SITE = b"[database]: ", b"/drupal]: ", b"www.example.org]: "
TARGET, BASE = b"[miniorange]: ", b"/scim/v2]: "
CTRL_C, CTRL_D = "\x03", "\x04"
URL = "mysql+pymysql://scimpipe@db/site"
SCIM = "https://scim.example.test/v2"


# Ctrl-C goes to those whose terminal it is.
AT_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def asked(folder: Path, *answers: tuple[bytes, str], file: str = "scimpipe.toml") -> tuple[int, str]:
    """The exit code of the command at a terminal of its own, and what it has shown there. answers: each with the end of the
    question it is for.
    """
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ITS_TERMINAL, *COMMAND, file],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    for question, answer in answers:
        already = len(shown)
        while question not in shown[already:]:
            shown += os.read(ours, 1000)
        # Until it waits for the answer.
        time.sleep(0.1)
        os.write(ours, (answer if answer in {CTRL_C, CTRL_D} else f"{answer}\n").encode())
    # Linux: that is the end of a terminal whose other side is closed.
    with suppress(OSError):
        while more := os.read(ours, 1000):
            shown += more
    os.close(ours)
    assert b"Traceback" not in shown
    return process.wait(10), shown.decode()


def test_jsonapi_is_understood_as_the_documents_spell_it(tmp_path):
    answers = [(KIND, "JSON:API"), (SITE, "https://site.example.test"), (TARGET, ""), (BASE, SCIM)]
    assert asked(tmp_path, *answers)[0] == 0
    drupal = load(tmp_path / "scimpipe.toml", {}).drupal
    assert (drupal.kind, drupal.base_url) == ("jsonapi", "https://site.example.test")


@pytest.mark.parametrize("answer", ["mysql", URL, ":", "jsonapis"])
def test_another_way_of_reading_drupal_is_asked_again(tmp_path, answer):
    code, text = asked(tmp_path, (KIND, answer), (KIND, "d"), (DATABASE, URL), (TARGET, ""), (BASE, SCIM))
    assert (code, "that is neither; write database or jsonapi" in text) == (0, True)
    assert load(tmp_path / "scimpipe.toml", {}).drupal.url == URL


def test_a_password_in_the_url_is_refused_and_never_written(tmp_path):
    wrong = "mysql+pymysql://u:hunter2@localhost/x"
    code, text = asked(
        tmp_path, (KIND, ""), (DATABASE, wrong), (DATABASE, URL), (TARGET, "acme"), (BASE, SCIM)
    )
    assert (code, "a secret must not stand here" in text, "DRUPAL_DB_PASSWORD" in text) == (0, True, True)
    assert "hunter2" not in (tmp_path / "scimpipe.toml").read_text()


@pytest.mark.parametrize(
    "answer", ["foo bar", "ftp://a/", "www.example.org", "https://u:pw@host/", " ", "\x1b[1m"]
)
def test_what_is_no_address_is_asked_again(tmp_path, answer):
    site = [(KIND, "jsonapi"), (SITE, answer), (SITE, "https://site.example.test")]
    code, text = asked(tmp_path, *site, (TARGET, ""), (BASE, answer), (BASE, SCIM))
    assert (code, text.count("write https://host")) == (0, 2)
    settings = load(tmp_path / "scimpipe.toml", {})
    assert (settings.drupal.base_url, settings.targets["miniorange"].base_url) == (
        "https://site.example.test",
        SCIM,
    )


@pytest.mark.parametrize("answer", ["http://example.org/scim", "Acme", "a b"])
def test_what_is_no_name_for_a_target_is_asked_again(tmp_path, answer):
    code, text = asked(
        tmp_path, (KIND, ""), (DATABASE, URL), (TARGET, answer), (TARGET, "acme"), (BASE, SCIM)
    )
    assert (code, "is no name for a target; use a-z" in text) == (0, True)
    assert "export ACME_TOKEN=" in text


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["Ctrl-C", "Ctrl-D"])
def test_who_leaves_the_questions_is_told_on_a_new_line_that_nothing_was_written(tmp_path, key):
    code, text = asked(tmp_path, (KIND, ""), (DATABASE, key))
    assert code == 130
    assert text.endswith("\r\nnothing was written\r\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nosuch/x.toml", "there is no folder"),
        ("file/x.toml", "there is no folder"),
        (".", "is no file"),
        ("x" * 300, "cannot be written"),
        ("/proc/x.toml", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_asked(tmp_path, place, why):
    (tmp_path / "file").touch()
    code, text = asked(tmp_path, file=place)
    assert (code, why in text, "How is Drupal read?" in text) == (2, True, False)


def test_a_folder_that_is_gone_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *COMMAND], cwd=gone, capture_output=True, text=True
    )
    assert (done.returncode, "cannot be written: No such file" in done.stderr) == (2, True)


@pytest.mark.parametrize("before", [None, "mine"], ids=["new", "--force"])
def test_a_full_disk_leaves_what_was_there(tmp_path, before):
    file = tmp_path / "scimpipe.toml"
    if before:
        file.write_text(before)
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "--force"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "scimpipe.toml cannot be written" in done.stderr) == (2, True)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == (
        {file.name: before} if before else {}
    )


def test_force_keeps_the_rights_of_a_file_and_what_leads_to_it(tmp_path):
    real = tmp_path / "real.toml"
    real.write_text("")
    real.chmod(0o640)
    (tmp_path / "scimpipe.toml").symlink_to(real.name)
    done = subprocess.run([*COMMAND, "--force"], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0
    assert (tmp_path / "scimpipe.toml").is_symlink()
    assert (real.stat().st_mode & 0o777, "[drupal]" in real.read_text()) == (0o640, True)

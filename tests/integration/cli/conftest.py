"""A site, a config and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.demo.site import DrupalSite
from tests.support.commands import Commands

CONFIG = """
[redis]
url = "{redis}"
[drupal]
url = "{drupal}"
[targets.{name}]
base_url = "{target}"
token = {{ env = "ACME_TOKEN" }}
scope = "mail"
[targets.{name}.mapping]
userName = "name"
externalId = "uuid"
displayName = "{field}"
[targets.{name}.manual]
operations = ["create"]
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = DrupalSite.create(f"sqlite:///{tmp_path}/site.sqlite")
    site.add_user("anna", "anna@example.test")
    site.close()
    return tmp_path


@pytest.fixture
def run(commands: Commands, folder: Path, redis_url: str) -> Run:
    def runner(*arguments: str, token: str = "token", **parts: str) -> subprocess.CompletedProcess[str]:
        known = {
            "name": "acme",
            "redis": redis_url,
            "drupal": "sqlite:///site.sqlite",
            "target": "http://127.0.0.1:9",
            "field": "name",
        }
        (folder / "scimpipe.toml").write_text(CONFIG.format(**{**known, **parts}))
        done = commands.run(arguments, folder, {**os.environ, "ACME_TOKEN": token})
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    return runner

"""What documents name is there: files, tests, commands of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "bench|cli|config|docs|drupal|producers|provisioning|requirements|scim|state|tests|workers"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_target_it_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    files = re.findall(rf"\b((?:{FOLDERS})/[\w/.-]*\w\.(?:py|md|txt|in|toml))\b", text)
    assert [file for file in files if not (ROOT / file).is_file()] == []
    targets = set(re.findall(r"`make (\w+)", text))
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert targets <= known

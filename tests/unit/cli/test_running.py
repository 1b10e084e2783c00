from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli.running import LANES, worker_command


@pytest.mark.parametrize("lane", LANES)
def test_the_procfile_runs_the_same_workers_as_the_command(lane):
    lines = (Path(__file__).parents[3] / "Procfile").read_text(encoding="utf-8").splitlines()
    (line,) = [each.removeprefix(f"{lane}: ") for each in lines if each.startswith(f"{lane}: ")]
    program, *options = shlex.split(line)
    assert program == "dramatiq"
    _, _, _, *ours = worker_command(lane)
    assert sorted(ours) == sorted(options)

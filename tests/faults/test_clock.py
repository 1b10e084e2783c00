"""The wall clock steps by an hour, under Redis and under every process of ours."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.processes import Supervisor, redis_server
from tests.faults.report import full_only
from tests.faults.test_process_faults import busy
from tests.faults.world import world

SEED = 20261130
HOUR = 3600


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the clock with")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@full_only
@pytest.mark.timeout(300)
@pytest.mark.parametrize("steps", [(HOUR, 0), (-HOUR, 0)], ids=str)
def test_the_clock_steps(tmp_path, report, shim, steps):
    file = tmp_path / "shift"
    file.write_text("0")
    environment = {"LD_PRELOAD": str(shim), "SHIFT_FILE": str(file)}
    with (
        redis_server(tmp_path / "redis", environment) as server,
        world(tmp_path, report, SEED, people=80, redis_url=server.url) as made,
        Supervisor(made.running, ("worker", "scheduler", "changes"), environment) as _,
    ):
        made.running.workers_ready()
        made.running.run("sync", "--no-wait")
        with busy(made):
            for step in steps:
                time.sleep(2.0)
                file.write_text(str(step))
                made.injected += 1
                with server.client() as client:
                    assert abs(client.time()[0] - time.time() - step) < 5
            time.sleep(2.0)
        made.settle(f"clock steps {steps}")

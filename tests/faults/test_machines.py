"""Workers on three machines, and one of them cut off in the middle of its work."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.faults.namespaces import machines
from tests.faults.processes import family, redis_server
from tests.faults.report import full_only
from tests.faults.test_process_faults import busy
from tests.faults.world import world

SEED = 20261201
AWAY_SECONDS = 45.0


@full_only
@pytest.mark.timeout(300)
def test_a_machine_is_cut_off_and_comes_back(tmp_path, report):
    with (
        machines(3) as (host, three),
        redis_server(tmp_path / "redis", host=host) as server,
        world(tmp_path, report, SEED, people=200, redis_url=server.url, host=host) as made,
    ):
        made.proxy.delay_seconds = 0.05
        log = (tmp_path / "processes.log").open("ab")
        workers = [
            subprocess.Popen(
                each.command(sys.executable, "-m", "cli.main", "worker"),
                env=made.running.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
            for each in three
        ]  # fmt: skip
        made.running.start("scheduler", "changes")
        try:
            made.running.until(lambda: made.running.run("status")["workers"] >= 6, 40)
            made.running.run("sync", "--no-wait")
            with busy(made):
                time.sleep(1.0)
                three[0].cut_off()
                made.injected += 1
                time.sleep(AWAY_SECONDS)
                three[0].join()
                time.sleep(2.0)
            made.proxy.delay_seconds = 0.0
            made.settle("a machine cut off", 200)
            # It works again.
            made.running.until(lambda: made.running.run("status")["workers"] >= 6, 60)
        finally:
            for pid in [pid for worker in workers for pid in family(worker.pid)]:
                subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
            for worker in workers:
                worker.wait()
            log.close()

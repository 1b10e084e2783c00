"""Workers on three machines, and one of them cut off in the middle of its work."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from scim.wire import ARRIVES_SECONDS
from tests.faults.namespaces import machines
from tests.faults.processes import family, redis_server
from tests.faults.report import full_only
from tests.faults.test_process_faults import busy
from tests.faults.world import world
from tests.support.scripted_target import Answer, ScriptedTarget

SEED = 20261201
AWAY_SECONDS = 45.0
# Sends a first request, a second one when it is told to, and stays.
CLIENT = """
import asyncio, sys
import httpx
from scim.network import RAISED
from scim.wire import Wire

async def main(url):
    async with httpx.AsyncClient(transport=Wire(1), timeout=1) as http:
        await http.post(url, content="first")
        print("connected", flush=True)
        sys.stdin.readline()
        try:
            await http.post(url, content="second")
        except RAISED:
            print("given up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


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


@full_only
@pytest.mark.timeout(120)
def test_what_a_machine_could_not_send_in_time_is_never_sent():
    """By then another worker may have the user. The kernel would try again for minutes: here after 6, 13 and 26 seconds."""
    with (
        machines(1) as (host, (machine,)),
        ScriptedTarget(lambda _: Answer(), host=host) as target,
        subprocess.Popen(
            machine.command(sys.executable, "-c", CLIENT, target.base_url),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as client,
    ):  # fmt: skip
        try:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.readline() == "connected\n"
            machine.cut_off()
            client.stdin.write("\n")
            client.stdin.flush()
            assert client.stdout.readline() == "given up\n"
            time.sleep(ARRIVES_SECONDS + 1)
            machine.join()
            time.sleep(25)
        finally:
            client.kill()
        assert [each.body for each in target.requests] == ["first"]

"""Commands that run processes: worker, scheduler, changes, up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.session import (
    DONE,
    NOT_FINISHED,
    SOME_FAILED,
    UNREACHABLE,
    CommandError,
    ConfigOption,
    JsonOption,
    Session,
    TimeoutOption,
)

LANES = ("interactive", "bulk")
# A thread waits for a message's users, who are worked on at once. Messages of the interactive lane have few users, so that
# lane wants more of them; a bulk worker holds no more than keep its target busy, and leaves the rest to the other workers.
THREADS = {"interactive": 8, "bulk": 3}
# dramatiq lets users that are being worked on finish; whatever is not by then comes back through its lease.
STOP_SECONDS = 10
BOOT_SECONDS = 60

LaneOption = Annotated[str, typer.Option("--lane", help="interactive, bulk, or both.")]


def worker_command(lane: str) -> list[str]:
    """Dramatiq's own command line for one lane, as the Procfile has it."""
    return [
        *(sys.executable, "-m", "dramatiq", "workers.main:boot", "--skip-logging"),
        *("--processes", "1", "--threads", str(THREADS[lane]), "--queues", lane),
        *("--worker-shutdown-timeout", str(STOP_SECONDS * 1000)),
        # Until its worker has booted the master hears no signal; it waits for nothing of ours.
        *("--worker-fork-timeout", "1000"),
    ]


def own_command(command: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", command]


def environment(config: Path) -> Mapping[str, str]:
    """What a child process needs to find the same config file."""
    from state.processes import PARENT_VARIABLE

    parent = {PARENT_VARIABLE: str(os.getpid())}
    return {**os.environ, **parent, "SCIMPIPE_CONFIG": str(config), "PYTHONUNBUFFERED": "1"}


def worker(lane: LaneOption = "both", config: ConfigOption = None) -> None:
    """Run the workers (dramatiq), until Ctrl-C or SIGTERM."""
    session = Session(config, as_json=False)

    async def body() -> int:
        if lane not in {*LANES, "both"}:
            raise CommandError(f"--lane {lane}: write interactive, bulk or both")
        lanes = LANES if lane == "both" else (lane,)
        return await _run_until_stopped(session, [worker_command(each) for each in lanes])

    session.run(body, logs=True)


def scheduler(config: ConfigOption = None) -> None:
    """Start full syncs by cron, re-send what got lost, probe quarantined targets."""
    session = Session(config, as_json=False)

    async def body() -> int:
        from config.logging import get_logger
        from producers.main import run_scheduler

        await run_scheduler(session.settings, get_logger())
        return DONE

    session.run(body, logs=True)


def changes(config: ConfigOption = None) -> None:
    """Detect changes in Drupal (automatic trigger)."""
    session = Session(config, as_json=False)

    async def body() -> int:
        from config.logging import get_logger
        from producers.main import run_changes

        await run_changes(session.settings, get_logger())
        return DONE

    session.run(body, logs=True)


def up(
    once: Annotated[bool, typer.Option("--once", help="One full sync of every target, drain, exit.")] = False,
    timeout: TimeoutOption = 600,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """All processes in one place, until Ctrl-C."""
    session = Session(config, as_json=as_json)

    async def body() -> int:
        if once:
            return await _once(session, timeout)
        if as_json:
            raise CommandError("up stays and has no document: --json goes with --once")
        commands = [*map(worker_command, LANES), own_command("scheduler"), own_command("changes")]
        # Not before the config has been read.
        session.output.say(
            f"{session.settings.path}: starting workers, scheduler and change detection; Ctrl-C stops them"
        )
        return await _run_until_stopped(session, commands)

    session.run(body)


async def _once(session: Session, timeout: float) -> int:
    import asyncio

    from cli.session import opened
    from cli.syncs import show_sync, sync_one, syncable

    names = syncable(session)
    async with (
        opened(session) as all_of_it,
        processes(session.settings.path, map(worker_command, LANES)) as running,
    ):
        await workers_ready(all_of_it, running)
        sweeping = asyncio.create_task(_sweep(all_of_it))
        results = [
            await sync_one(session, all_of_it, name, timeout, verify=False, wait=True) for name in names
        ]
        drained = await _drain(all_of_it, timeout)
        sweeping.cancel()
    if not drained:
        session.output.note("users still wait, not finished in the time given: `scimpipe status`")
    documents = [document for document, _ in results]
    session.output.document(documents[0] if len(documents) == 1 else documents)
    for document in documents:
        show_sync(session, document)
    return max([*(code for _, code in results), DONE if drained else NOT_FINISHED])


async def _sweep(all_of_it: Any) -> None:
    """What the scheduler would do meanwhile."""
    import asyncio

    from producers.sweep import SWEEP_SECONDS, probe_source

    while True:
        await probe_source(all_of_it.source_gate, all_of_it.reader, all_of_it.log)
        for name in all_of_it.settings.targets:
            await all_of_it.sweeper(name).sweep()
        await asyncio.sleep(SWEEP_SECONDS)


async def workers_ready(
    all_of_it: Any, running: Sequence[subprocess.Popen[bytes]], messages: str = "above"
) -> None:
    """Raises CommandError when one of those running ends instead of starting, or the workers do not start in time. messages: where
    theirs are.
    """
    import asyncio

    from state.processes import Processes

    deadline = time.monotonic() + BOOT_SECONDS
    while await Processes(all_of_it.redis).count("worker") < len(LANES):
        if time.monotonic() > deadline or any(process.poll() is not None for process in running):
            raise CommandError(f"the workers did not start; their messages are {messages}", UNREACHABLE)
        await asyncio.sleep(0.1)


async def _drain(all_of_it: Any, timeout: float) -> bool:
    import asyncio

    deadline = time.monotonic() + timeout
    while True:
        states = [all_of_it.state(name) for name in all_of_it.settings.targets]
        # What is paused or quarantined waits for longer than we do.
        counts = [await state.ledger.counts() for state in states if (await state.gate.health()).open]
        if not any(each.pending or each.running for each in counts):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)


@asynccontextmanager
async def processes(
    config: Path, commands: Any, log: Any = None
) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    """Starts child processes and stops them all at the end. log: a file for what they print; None: our stderr."""
    running = [_start(command, config, log or sys.stderr) for command in commands]
    try:
        yield running
    finally:
        await _stop(running)


def _start(command: list[str], config: Path, output: Any) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
    # A session of its own: Ctrl-C reaches us alone, and each child is told once, by us.
    return subprocess.Popen(command, env=environment(config), start_new_session=True, **streams)  # noqa: S603  # ours


async def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    import asyncio

    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS + 5
    for process in running:
        try:
            await asyncio.to_thread(process.wait, max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _run_until_stopped(session: Session, commands: Sequence[list[str]]) -> int:
    """Until a signal comes, or one of the processes ends: then all end, with its code; SOME_FAILED where that was a signal."""
    import asyncio

    from provisioning.mapping import compile_all

    # Said once and plainly here, rather than by every child.
    compile_all(session.settings.targets)
    loop, stop, woken = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def told_to_stop() -> None:
        stop.set()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    loop.add_signal_handler(signal.SIGCHLD, woken.set)
    async with processes(session.settings.path, commands) as running:
        while not stop.is_set():
            ended = [process for process in running if process.poll() is not None]
            if ended:
                return max(_told(session, process) for process in ended)
            await woken.wait()
            woken.clear()
    return DONE


def _told(session: Session, process: subprocess.Popen[bytes]) -> int:
    """Says which process has ended; what it says itself, if anything, is above. Gives our exit code."""
    command: Any = process.args
    name = (
        f"the worker of the {command[command.index('--queues') + 1]} lane"
        if "dramatiq" in command
        else command[-1]
    )
    code = process.returncode
    how = f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    session.output.error(
        f"{name} has ended {how}, so all end; its reason, if it had time to give one, is above"
    )
    return code if code >= 0 else SOME_FAILED

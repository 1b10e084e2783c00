"""Idle: `scimpipe up` with the embedded Valkey, change detection every 5 s and nothing to do: CPU seconds of all its
processes (two workers with their masters, scheduler, changes, up itself, Valkey and its supervisor) a second of time, beside one
core. And the start of `scimpipe --help`, median of ten, beside the 0.2 s it may take and beside `python -c pass`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.place import Place, endpoint, place
from bench.site import make_large_site

GOALS = (
    Goal("8", "idle, all processes together", "core", "idle", "one core", at_most=0.01),
    Goal("8", "scimpipe --help", "s", "help", "0.2 s", at_most=1.0),
    Goal("8", "scimpipe --help, above python itself", "s", "help", "python"),
)
POLL_SECONDS = 5
USERS = 100
# What starting costs is over by then: first beats, first polls, what Python collects after its imports.
SETTLE_SECONDS = 15
STARTS = 10


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    seconds = 10 if quick else 60
    site = f"sqlite:///{folder / 'site.sqlite'}"
    make_large_site(site, USERS + 1).close()
    with endpoint() as url, place(folder, url, site, poll_seconds=POLL_SECONDS) as made:
        made.start_command("up")
        made.wait_for_workers(2)
        # Who is linked is the usual case.
        made.run("sync")
        time.sleep(SETTLE_SECONDS)

        def once() -> Figures:
            spent = sum(idle(made, seconds).values())
            help_, python = starts(
                [sys.executable, "-m", "cli.main", "--help"], [sys.executable, "-c", "pass"]
            )
            return {
                "idle": spent / seconds,
                "one core": 1.0,
                "help": help_,
                "0.2 s": 0.2,
                "python": python,
            }

        yield once


def idle(made: Place, seconds: float) -> Mapping[str, float]:
    """CPU seconds each process of the place uses in so many seconds."""
    before = cpu_seconds(made)
    time.sleep(seconds)
    after = cpu_seconds(made)
    assert set(before) == set(after), "a process came or went"
    return {name: after[name] - before[name] for name in after}


def cpu_seconds(made: Place) -> Mapping[str, float]:
    """User and system time of all processes that were started for this place, by id and name."""
    mark = f"SCIMPIPE_CONFIG={made.folder / 'scimpipe.toml'}".encode()
    parents, spent, ours = {}, {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            marked = mark in (process / "environ").read_bytes().split(b"\0")
        except (OSError, ProcessLookupError):
            continue
        number = int(process.name)
        parents[number] = int(fields[1])
        spent[number] = (command, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        if marked:
            ours.add(number)
    # Valkey writes its title over its environment; its parent's says it all.
    ours |= {number for number, parent in parents.items() if parent in ours}
    return {f"{number} {spent[number][0]}": spent[number][1] for number in sorted(ours)}


def starts(*commands: Sequence[str]) -> tuple[float, ...]:
    """Seconds from start to end, the median of ten, in turns."""
    took: list[list[float]] = [[] for _ in commands]
    for _ in range(STARTS):
        for command, seconds in zip(commands, took, strict=True):
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - began)
    return tuple(map(statistics.median, took))

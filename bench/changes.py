"""Change detection while nothing changes, on a large site: CPU of a poll, in the process that polls, less that of the same
statements sent by the driver alone, in turns in the same process. (On SQLite the database runs in it: that is most of a poll
there. A count of the users is due with each of these polls; in life it takes a tenth of the time at most.) Memory: how much the process has grown at its
highest, over the first poll, which takes the bearings, and all others; beside it what is allowed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from bench.figures import Figures, Goal, Once
from bench.place import ROOT, place
from bench.site import make_large_site
from config.loading import load
from config.logging import configure, get_logger
from config.settings import DrupalDatabaseSettings
from drupal.database_engine import open_engine
from producers.changes import ChangeDetection, Found
from producers.counting import CountedDepartures
from producers.departures import Watched
from producers.opened import Opened, opened
from provisioning.ports import CountingReader
from state.marks import MarkStore
from state.roster import RosterStore
from tests.support.databases import fresh_database

POLLS = 20
ALLOWED_MS, ALLOWED_MB = 50.0, 100.0
KINDS = ("sqlite", "mariadb")
GOALS = (
    *(
        Goal("6", f"a poll with nothing changed, our own CPU ({kind})", "ms", f"own {kind}", "allowed ms", at_most=1)
        for kind in KINDS
    ),
    *(
        Goal("6", f"a poll with nothing changed, beside its bare statements ({kind})", "ms", f"poll {kind}", f"bare {kind}")
        for kind in KINDS
    ),
    *(
        Goal("6", f"memory of change detection ({kind})", "MB", f"grown {kind}", "allowed MB", at_most=1)
        for kind in KINDS
    ),
)  # fmt: skip

Statement = tuple[str, Any]


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    with ExitStack() as stack:
        sites = {}
        for kind in KINDS:
            sites[kind] = stack.enter_context(fresh_database(kind, folder))
            make_large_site(sites[kind], 10_000 if quick else 1_000_000).close()
        yield lambda: {
            "allowed ms": ALLOWED_MS,
            "allowed MB": ALLOWED_MB,
            **{
                f"{name} {kind}": value
                for kind in KINDS
                for name, value in _once(folder, sites[kind]).items()
            },
        }


def _once(folder: Path, site: str) -> Figures:
    """own, poll, bare, grown; with a Redis of its own, so that each run begins with the first poll."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        place(Path(name), "http://127.0.0.1:9", site) as made,
    ):
        command = [sys.executable, "-m", "bench.changes", str(made.folder / "scimpipe.toml")]
        done = subprocess.run(
            command, cwd=ROOT, env=made.environment, capture_output=True, text=True, check=True
        )
        found: Figures = json.loads(done.stdout)
        return found


# -- in a process of its own ---------------------------------------------------------------------------------


async def measured(config: Path) -> Figures:
    """poll, bare, own (the difference): medians, in ms of CPU. grown: MB."""
    settings = load(config)
    assert isinstance(settings.drupal, DrupalDatabaseSettings)
    async with opened(settings, get_logger()) as all_of_it:
        idle = _resident_mb()
        poll = _detection(all_of_it).poll
        assert await poll() == {}, "the first one takes the bearings"
        with _remembering() as statements:
            await poll()
        polls, bare = [], []
        engine = open_engine(settings.drupal, 1)
        for _ in range(POLLS):
            began = time.process_time()
            assert await poll() == {"bench": Found()}
            polled = time.process_time()
            await asyncio.to_thread(_send, engine, statements)
            polls.append((polled - began) * 1000)
            bare.append((time.process_time() - polled) * 1000)
    own = statistics.median(ours - beside for ours, beside in zip(polls, bare, strict=True))
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    medians = {"poll": statistics.median(polls), "bare": statistics.median(bare)}
    return {**medians, "own": own, "grown": highest - idle}


def _detection(all_of_it: Opened) -> ChangeDetection:
    """As Opened.change_detection makes it, but that a count is due each time."""
    assert isinstance(all_of_it.reader, CountingReader)
    name = "bench"
    watched = [Watched(all_of_it.state(name), all_of_it.compiled[name], all_of_it.key)]
    days = itertools.count(step=86_400).__next__
    departures = CountedDepartures(watched, all_of_it.reader, RosterStore(all_of_it.redis), days)
    marks = {name: MarkStore(all_of_it.redis, name)}
    return ChangeDetection(watched, all_of_it.reader, all_of_it.same_site, departures, marks, all_of_it.log)


@contextmanager
def _remembering() -> Iterator[list[Statement]]:
    """What is asked of databases meanwhile."""
    asked: list[Statement] = []

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", remember)
    yield asked
    event.remove(Engine, "before_cursor_execute", remember)


def _send(engine: Engine, statements: Sequence[Statement]) -> None:
    """The same statements by the driver alone; as in the reader, SQLite is opened for each and the others stay connected."""
    for statement, parameters in statements:
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            cursor.fetchall()


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    configure(sys.stderr)
    print(json.dumps(asyncio.run(measured(Path(sys.argv[1])))))

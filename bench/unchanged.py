"""Full sync of a large site of which nothing has changed: everybody is linked beforehand, nothing is submitted, and no
request is sent. Beside it a loop that selects and fetches the same columns, page by page. Memory: how much higher the
sync's process gets than one that opens the same and ends, on the large site and on a small one; beside it what is allowed.
With one user in a hundred edited: seconds of the sync with a worker and an endpoint that answers at once; beside it the
unchanged sync of the same run and the same users submitted alone. Links: of ten mapped attributes each, what Redis uses
more than without them; beside it what is allowed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figures, Goal, Once
from bench.linked import EDITED, edit
from bench.place import Place, bare, endpoint, place
from bench.site import make_large_site
from tests.support.databases import fresh_database

KINDS = ("sqlite", "mariadb")
ALLOWED_MB, ALLOWED_BYTES = 100.0, 350.0
# A tenth mapped attribute.
MAPPING = "[targets.bench.mapping]\n"
TENTH = "'preferredLanguage' = \"langcode\"\n"
LOOK_SECONDS = 0.02
GOALS = (
    *(
        Goal("6", f"full sync, nothing changed ({kind})", "s", kind, f"bare {kind}", at_most=4)
        for kind in KINDS
    ),
    *(
        Goal("6", f"its process, CPU with start and end ({kind})", "s", f"cpu {kind}", f"bare cpu {kind}")
        for kind in KINDS
    ),
    *(
        Goal("6", f"its memory beyond the idle process ({size})", "MB", f"grown {size}", "allowed MB", at_most=1)
        for size in ("large", "small")
    ),
    Goal("6", "full sync, one in a hundred changed", "s", "changed", "unchanged and alone", at_most=1),
    Goal("6", "a link in Redis", "bytes", "link", "allowed bytes", at_most=1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's document, the highest its memory ever was, and its CPU seconds."""

    document: Any
    peak_mb: float
    cpu: float


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    users = 10_000 if quick else 1_000_000
    with ExitStack() as stack:
        base_url = stack.enter_context(endpoint())
        places = {}
        for name, kind, count in (
            ("sqlite", "sqlite", users),
            ("mariadb", "mariadb", users),
            ("small", "sqlite", users // 100),
        ):
            site = stack.enter_context(fresh_database(kind, folder))
            make_large_site(site, count).close()
            made = stack.enter_context(place(folder / name, base_url, site))
            _with_ten_attributes(made)
            # It keeps the embedded Redis up from one command to the next.
            made.start_command("scheduler")
            linked = _run(made, "bench.linked", "link").document
            assert linked["count"] == count, linked
            places[name] = (made, site, count, linked["figure"])
        yield lambda: _once(places)


def _with_ten_attributes(made: Place) -> None:
    file = made.folder / "scimpipe.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(MAPPING, MAPPING + TENTH), encoding="utf-8")


def _once(places: dict[str, tuple[Place, str, int, float]]) -> Figures:
    figures = {"allowed MB": ALLOWED_MB, "allowed bytes": ALLOWED_BYTES, "link": places["sqlite"][3]}
    for name in KINDS:
        made, site, users, _ = places[name]
        loop = bare("read", site)
        assert loop["count"] == users, loop
        ran = _synced(made, users, unchanged=users)
        figures |= {
            name: ran.document["duration_seconds"],
            f"bare {name}": loop["seconds"],
            f"cpu {name}": ran.cpu,
            f"bare cpu {name}": loop["cpu"],
        }
        if name == "sqlite":
            figures["grown large"] = ran.peak_mb - _run(made, "bench.linked", "idle").peak_mb
    made, _, users, _ = places["small"]
    idle = _run(made, "bench.linked", "idle").peak_mb
    figures["grown small"] = _synced(made, users, unchanged=users).peak_mb - idle
    return {**figures, **_changed(*places["sqlite"][:3], figures["sqlite"])}


def _changed(made: Place, site: str, users: int, unchanged: float) -> Figures:
    worker = made.start_worker()
    made.wait_for_workers(1)
    edited = edit(site, uuid.uuid4().hex)
    assert edited == users // EDITED
    ran = _synced(made, users, unchanged=users - edited)
    edit(site, uuid.uuid4().hex)
    alone = _run(made, "bench.linked", "submit").document
    assert alone["count"] == edited == ran.document["updated"], ran.document
    worker.terminate()
    worker.wait(60)
    made.processes.remove(worker)
    return {
        "changed": ran.document["duration_seconds"],
        "alone": alone["figure"],
        "unchanged and alone": unchanged + alone["figure"],
    }


def _synced(made: Place, users: int, *, unchanged: int) -> Ran:
    # With nothing to do there is nothing to wait for, and no worker either.
    waiting = ("--no-wait",) if unchanged == users else ("--timeout", "3600")
    ran = _run(made, "cli.main", "sync", "--json", *waiting)
    counted = ran.document
    assert (counted["scanned"], counted["unchanged"]) == (users, unchanged), counted
    # The worker's first one asks what the endpoint is able to do.
    assert counted["requests"] <= (users - unchanged and users - unchanged + 1), counted
    return ran


def _run(made: Place, module: str, *arguments: str) -> Ran:
    """A command to its end, looked at all the while: what a process has used at most, nobody tells afterwards without
    what used to be in its memory before it became this command.
    """
    command = [sys.executable, "-m", module, *arguments]
    with ExitStack() as stack:
        log = stack.enter_context((made.folder / "processes.log").open("ab"))
        pipe = subprocess.PIPE
        process = stack.enter_context(
            subprocess.Popen(
                command, env=made.environment, cwd=made.folder, text=True, stdout=pipe, stderr=log
            )
        )
        peak, cpu = 0.0, 0.0
        while process.poll() is None:
            peak, cpu = max(peak, _peak_mb(process.pid)), max(cpu, _cpu_seconds(process.pid))
            time.sleep(LOOK_SECONDS)
        assert process.returncode == 0, (made.folder / "processes.log").read_text()[-2000:]
        assert process.stdout is not None
        return Ran(json.loads(process.stdout.read()), peak, cpu)


def _peak_mb(pid: int) -> float:
    status = _proc(pid, "status")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024 if "VmHWM:" in status else 0.0


def _cpu_seconds(pid: int) -> float:
    """User and system time, in hundredths of a second."""
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / 100 if fields else 0.0


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError:
        return ""

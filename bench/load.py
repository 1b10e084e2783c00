"""Initial load: one worker process and the sync that feeds it, no Bulk, an endpoint that answers at once. Counted from the
endpoint's first request to its last. Beside it an asyncio loop that posts the same ready-made bodies with the same HTTP
library, as many at a time; and a plain script on scim2-client, one user after the other, look up, then create (its first
1,000 users). CPU of the worker and of Redis stands beside that of the loop's process.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figures, Goal, Once
from bench.idle import cpu_seconds
from bench.place import ROOT, endpoint, place, posted, printed
from bench.site import make_large_site

CONCURRENCY = 32
PLAIN = 1_000
GOALS = (
    Goal("1", "initial load, one worker, no Bulk", "users/s", "load", "posting", at_least=0.7),
    Goal("1", "the same, beside a plain script", "users/s", "load", "plain", at_least=5),
    Goal("1", "the same, beside a loop that leaves httpx's client out, as we do", "users/s", "load", "lean"),
    Goal("1", "CPU of the worker a created user", "us", "worker", "bare cpu"),
    Goal("1", "CPU of Redis a created user", "us", "redis", "bare cpu"),
    Goal("3", "requests per created user", "", "requests", "one", at_most=1.05),
)


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    users = 2_000 if quick else 20_000
    site = f"sqlite:///{folder / 'site.sqlite'}"
    make_large_site(site, users).close()
    some = folder / "bodies.jsonl"
    some.write_text(printed("bodies", site, str(PLAIN)), encoding="utf-8")

    def once() -> Figures:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            return {**_once(Path(name), site, users), "plain": _plain(some)}

    yield once


def _plain(some: Path) -> float:
    """Users a second."""
    with endpoint() as url:
        command = [str(ROOT / ".venv-bench/bin/python"), "bench/plain.py", url, str(some)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return float(found["count"]) / float(found["seconds"])


def _once(folder: Path, site: str, users: int) -> Figures:
    with endpoint() as url:
        posting = posted("create", site, CONCURRENCY, url)
    with endpoint() as url:
        lean = posted("lean", site, CONCURRENCY, url)
    with endpoint() as url, place(folder, url, site, concurrency=CONCURRENCY) as made:
        made.start_worker()
        made.wait_for_workers(1)
        before = cpu_seconds(made)
        loaded = made.run("sync")
        assert loaded["created"] == users, loaded
        spent = by_part(before, cpu_seconds(made), users)
        stats = made.stats()
    sent = sum(value for name, value in stats.items() if name.startswith(("GET", "POST")))
    return {
        "load": users / stats["seconds"],
        "posting": users / posting["seconds"],
        "lean": users / lean["seconds"],
        "requests": sent / users,
        "one": 1.0,
        "bare cpu": 1e6 * posting["cpu"] / users,
        **spent,
    }


def by_part(before: Mapping[str, float], after: Mapping[str, float], users: int) -> Figures:
    """Microseconds of CPU a user, of the worker and of Redis."""
    parts = {"worker": "dramatiq", "redis": "valkey"}
    return {
        part: 1e6 * sum(after[name] - before[name] for name in before if word in name) / users
        for part, word in parts.items()
    }

"""From the commit in Drupal's database to the request at the endpoint: users edited and added one after the other, one in each
fortieth of a poll's period, with real processes for change detection and the worker. (At forty moments by chance the median
would be 80 ms more or less from run to run.) Beside it what a user waits for the next poll on average: half of poll_seconds.
"""

from __future__ import annotations

import math
import random
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from bench.figures import Figures, Goal, Once
from bench.place import Place, asked, endpoint, place
from bench.site import make_large_site
from cli.demo.site import DrupalSite

USERS = 200
POLL_SECONDS = 1.0
EXPECTED_MS = POLL_SECONDS / 2 * 1000
ALLOWED_MS = EXPECTED_MS + 100
LOOK_SECONDS = 0.005
# Of five polls one at least finds whatever is to be found.
LONGEST_SECONDS = 5 * POLL_SECONDS
GOALS = (
    Goal("7", "from the commit to the endpoint, median", "ms", "detection", "expected", at_most=ALLOWED_MS / EXPECTED_MS),
)  # fmt: skip


@contextmanager
def measuring(folder: Path, quick: bool) -> Iterator[Once]:
    """The processes stay for all runs: what is measured is their daily life."""
    url = f"sqlite:///{folder / 'site.sqlite'}"
    site = make_large_site(url, USERS + 1)
    with endpoint() as base_url, place(folder / "place", base_url, url, poll_seconds=POLL_SECONDS) as made:
        made.start_worker("bulk")
        made.start_worker("interactive")
        made.wait_for_workers(2)
        assert made.run("sync")["created"] == USERS + 1
        made.start_command("changes")
        # The first poll only takes its bearings; when that was, nobody says.
        while _edited(made, site) == math.inf:
            pass
        yield lambda: _once(made, site, 10 if quick else 40)
    site.close()


def _once(made: Place, site: DrupalSite, actions: int) -> Figures:
    waits = []
    for number, part in enumerate(random.sample(range(actions), actions)):
        # From the poll that found the one before.
        time.sleep((1 + (part + random.random()) / actions) * POLL_SECONDS)
        waits.append(_added(made, site) if number % 2 else _edited(made, site))
    assert max(waits) < math.inf, "somebody did not arrive"
    return {"detection": statistics.median(waits) * 1000, "expected": EXPECTED_MS}


def _edited(made: Place, site: DrupalSite) -> float:
    user = random.choice([each for each in site.users() if each.uid > 1])
    site.edit(user.uuid, department=uuid.uuid4().hex)
    return _seconds_to_arrive(made, user.name)


def _added(made: Place, site: DrupalSite) -> float:
    name = uuid.uuid4().hex
    site.add_user(name, f"{name}@example.org")
    return _seconds_to_arrive(made, name)


def _seconds_to_arrive(made: Place, name: str) -> float:
    """From now, the commit, to the moment the endpoint was asked; infinite when it is not."""
    committed = time.time()
    address = f"{made.base_url}/seen?{urlencode({'userName': name})}"
    while time.time() < committed + LONGEST_SECONDS:
        at: float = asked(address)["at"]
        if at > committed:
            return at - committed
        time.sleep(LOOK_SECONDS)
    return math.inf

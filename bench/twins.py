"""What a change gives: the same load by two workers at the same time, one of them with the code of another checkout. Other
things that the machine does fall on both alike, so some rounds show 2 %, where loads in turns show 10 % at best.

python -m bench.twins CHECKOUT [--bulk] [--rounds N]     CHECKOUT: the code before, in a folder
Prints microseconds of the workers' CPU a created user, before and now, and the median of now / before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.bulk import OPERATIONS
from bench.idle import cpu_seconds
from bench.load import CONCURRENCY, by_part
from bench.place import ROOT, Place, endpoint, place
from bench.site import make_large_site

USERS = 20_000


def both(folder: Path, site: str, codes: tuple[Path, Path], bulk: bool) -> list[float]:
    """Microseconds of CPU a user of each worker."""
    with ExitStack() as stack:
        made = [_started(stack, folder / str(number), site, code, bulk) for number, code in enumerate(codes)]
        before = [cpu_seconds(each) for each in made]
        with ThreadPoolExecutor(len(made)) as threads:
            for loaded in threads.map(lambda each: each.run("sync"), made):
                assert loaded["created"] == USERS, loaded
        return [
            by_part(spent, cpu_seconds(each), USERS)["worker"]
            for each, spent in zip(made, before, strict=True)
        ]


def _started(stack: ExitStack, folder: Path, site: str, code: Path, bulk: bool) -> Place:
    url = stack.enter_context(endpoint(bulk=OPERATIONS if bulk else 0))
    made = stack.enter_context(
        place(folder, url, site, concurrency=CONCURRENCY, bulk="auto" if bulk else "off")
    )
    made.code = code
    made.start_worker()
    made.wait_for_workers(1)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--bulk", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        site = f"sqlite:///{name}/site.sqlite"
        make_large_site(site, USERS).close()
        for number in range(asked.rounds):
            codes = (asked.checkout.resolve(), ROOT)
            was, now = both(Path(name) / f"round{number}", site, codes, asked.bulk)
            ratios.append(now / was)
            print(f"{was:.0f} -> {now:.0f} us, {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()

"""Python's cyclic collector, in processes that make much and keep little."""

from __future__ import annotations

import gc

COLLECT_AFTER = 20_000


def collect_less_often() -> None:
    """It looks through what is new after every 700 objects, which is three users of a worker's: a tenth of its work, and a seventh
    of a scan. What is here now stays, and is not looked at again.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 50)

"""A site whose users all have an account already: links written by the store itself, with not one request to the target.

python -m bench.linked link     links everybody on the site; what each takes in Redis
python -m bench.linked idle     opens what a full sync opens, and ends
python -m bench.linked submit   submits whom `edit` edits, for a worker that runs; the seconds until all are done
Each in the environment of a bench.place.Place. Prints {"count", "figure"} as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

import structlog
import uvloop
from sqlalchemy import create_engine, event, make_url, text

from config.loading import load
from config.settings import Trigger
from drupal.database_engine import is_sqlite, nocase_utf8
from producers.opened import Opened, opened
from provisioning.diff import digests
from provisioning.model import Link, SourceUser

TARGET = "bench"
# One in so many is edited, all over the site.
EDITED = 100
LOOK_SECONDS = 0.05


def edit(url: str, department: str) -> int:
    """In Drupal's database; how many users that was."""
    engine = create_engine(url)
    if is_sqlite(make_url(url)):
        event.listen(engine, "connect", lambda made, _: made.create_collation("NOCASE_UTF8", nocase_utf8))
    with engine.begin() as connection:
        statement = (
            "UPDATE user__field_department SET field_department_value = :value WHERE entity_id % :share = 0"
        )
        done = connection.execute(text(statement), {"value": department, "share": EDITED})
    engine.dispose()
    return done.rowcount


async def link(all_of_it: Opened) -> tuple[int, float]:
    links, key = all_of_it.state(TARGET).links, await all_of_it.key()
    compiled = all_of_it.compiled[TARGET]

    async def put(user: SourceUser) -> None:
        source = compiled.source(user.uuid, user, key)
        assert source.desired is not None
        # Ids as most targets give them.
        scim_id = str(uuid.uuid5(uuid.NAMESPACE_URL, user.uuid))
        await links.put(user.uuid, Link(scim_id, None, source.fingerprint, digests(source.desired, key)))

    count, before = 0, await _used(all_of_it)
    async for page in all_of_it.reader.scan():
        await asyncio.gather(*map(put, page))
        count += len(page)
    return count, (await _used(all_of_it) - before) / count


async def _used(all_of_it: Opened) -> int:
    return int((await all_of_it.redis.info("memory"))["used_memory"])


async def idle(all_of_it: Opened) -> tuple[int, float]:
    await all_of_it.reader.verify()
    await (await all_of_it.full_sync(TARGET)).attendance()
    return 0, 0.0


async def submit(all_of_it: Opened) -> tuple[int, float]:
    state = all_of_it.state(TARGET)
    edited = [ref.uuid async for page in all_of_it.reader.ids() for ref in page if ref.uid % EDITED == 0]
    began = time.perf_counter()
    for start in range(0, len(edited), 500):
        await state.submit(edited[start : start + 500], Trigger.SCHEDULED)
    while True:
        counts = await state.ledger.counts()
        if not counts.pending and not counts.running:
            return len(edited), time.perf_counter() - began
        await asyncio.sleep(LOOK_SECONDS)


COMMANDS: Mapping[str, Callable[[Opened], Awaitable[tuple[int, float]]]] = {
    "link": link,
    "idle": idle,
    "submit": submit,
}


async def _run(command: str) -> tuple[int, float]:
    async with opened(load(), structlog.get_logger()) as all_of_it:
        return await COMMANDS[command](all_of_it)


if __name__ == "__main__":
    counted, figure = uvloop.run(_run(sys.argv[1]))
    print(json.dumps({"count": counted, "figure": figure}))

"""What a full sync would do, found out without writing anything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from config.settings import OperationName
from producers.opened import Opened
from provisioning.expressions import EvaluationError
from provisioning.model import SourceUser
from provisioning.ports import Ports
from provisioning.preview import Preview, preview
from provisioning.reconcile import Reconciler

AT_ONCE = 16


async def plan_all(opened: Opened, name: str) -> tuple[int, int, list[Preview]]:
    """Users scanned, users unchanged, and what would happen to each of the others."""
    state = opened.state(name)
    ports = Ports(opened.reader, opened.target(name), state.links, state.guard, state.rewritten)
    settings = opened.settings.targets[name]
    reconciler = Reconciler(settings, opened.compiled[name], await opened.key(), ports, random.random)
    sync = await opened.full_sync(name)
    await opened.reader.verify()
    await opened.same_site.compare()
    attendance = await sync.attendance()
    scanned, unchanged = 0, 0
    planned: list[Preview] = []
    async for page in opened.reader.scan():
        scan = await sync.judge(page)
        attendance.count(page, scan.prints)
        scanned, unchanged = scanned + len(page), unchanged + scan.unchanged
        wanted = {*scan.changed, *scan.leaving, *scan.clearing}
        planned += await _preview_all(reconciler, [(user.uuid, user) for user in page if user.uuid in wanted])
    gone = {user async for users in attendance.gone() for user in users}
    planned += await _preview_all(reconciler, [(user, None) for user in sorted(gone)])
    return scanned, unchanged, planned


async def _preview_all(
    reconciler: Reconciler, users: Sequence[tuple[str, SourceUser | None]]
) -> list[Preview]:
    links = await reconciler.ports.links.get_many([uuid for uuid, _ in users])
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(uuid: str, user: SourceUser | None) -> Preview:
        async with slots:
            try:
                return await preview(reconciler, uuid, user, links.get(uuid))
            except EvaluationError as error:
                return Preview(uuid, "failed", OperationName.NONE, (), None, None, f"refused: {error}")

    return list(await asyncio.gather(*(one(uuid, user) for uuid, user in users)))

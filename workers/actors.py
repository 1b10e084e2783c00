"""The two actors: one a lane, the same work (DESIGN 4)."""

from __future__ import annotations

import dramatiq

from config.problems import ConfigError
from state.broker import ACTORS
from workers.batch import Batch
from workers.middleware import Lifecycle
from workers.runtime import UnknownTargetError


def declare_actors(broker: dramatiq.Broker, lifecycle: Lifecycle) -> None:
    for lane, name in ACTORS.items():
        _declare(broker, lifecycle, lane, name)


def _declare(broker: dramatiq.Broker, lifecycle: Lifecycle, lane: str, name: str) -> None:
    @dramatiq.actor(actor_name=name, queue_name=lane, broker=broker)
    async def reconcile(target: str, users: list[str]) -> None:
        runtime = lifecycle.opened
        try:
            work = await runtime.target(target)
        except UnknownTargetError:
            lifecycle.log.warning("unknown_target", target=target)
            return
        except ConfigError as error:
            lifecycle.log.error("unknown_target", target=target, reason=str(error))
            return
        source_gate = await runtime.source_gate()
        same_site = await runtime.same_site()
        batch = Batch(
            work,
            runtime.reader,
            same_site,
            source_gate,
            lifecycle.owner,
            lifecycle.log,
            lifecycle.stopping,
        )
        await batch.run(users, lane)

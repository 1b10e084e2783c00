"""The sweeper: what is pending and has no message gets one; expired leases come back; quarantined targets are probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.errors import ProvisioningError, SourceUnreadable
from provisioning.ports import SourceReader
from state.gate import Gate
from state.target_state import TargetState

if TYPE_CHECKING:
    from scim.target import ScimTarget

# What it mends has waited for 30 s by then; and the first probe of an outage may be this late. More often costs more than all
# else an idle scheduler does.
SWEEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps one target. source_gate: of the site. To be called every SWEEP_SECONDS by the process that leads."""

    state: TargetState
    target: ScimTarget
    source_gate: Gate
    log: Any

    async def sweep(self) -> None:
        gate = self.state.gate
        health = await gate.health()
        if health.state == "quarantined" and await gate.probe_due():
            await self.probe()
            health = await gate.health()
        if health.throttled_seconds > SWEEP_SECONDS:
            # Whoever is pending has a message that comes once that is over.
            return
        if not health.open or not (await self.source_gate.health()).open:
            # Whoever were sent would be let go again.
            return
        for lane, count in (await self.state.resend()).items():
            self.log.info("jobs_resent", target=self.state.target, lane=lane, count=count)

    async def probe(self) -> None:
        """Ends a quarantine if the target works again."""
        try:
            await self.target.probe()
        except ProvisioningError:
            return
        if await self.state.gate.recover():
            self.log.info("target_recovered", target=self.state.target)


async def look_again(sweeper: Sweeper) -> None:
    """For a person who is there now: a quarantined target is tried at once, whoever else would do it later."""
    if (await sweeper.state.gate.health()).state == "quarantined":
        await sweeper.probe()


async def probe_source(gate: Gate, reader: SourceReader, log: Any) -> None:
    """Tries the site again after it could not be read. A lost identity is not tried with the same process's reader:
    it refuses, so that the account is not locked out; see docs/drupal.md.
    """
    if (await gate.health()).state != "quarantined" or not await gate.probe_due():
        return
    try:
        await reader.verify()
    except SourceUnreadable:
        return
    if await gate.recover():
        # Nothing is written there: one user who cannot be read must not close it again for everybody.
        await gate.worked()
        log.info("source_recovered")

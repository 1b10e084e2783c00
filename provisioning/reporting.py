"""Putting what happened to one user into a Result, and judging errors that concern this user alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import OperationName, TargetSettings, Trigger
from provisioning.errors import AmbiguousWrite, ProvisioningError, Superseded, Transient, Unanswered
from provisioning.model import Job, OutcomeName, Result, allowed_operations
from provisioning.retry import LATE_SECONDS, delay_seconds

# Going through the class itself takes longer than all the rest of a report.
_TRIGGERS = tuple(Trigger)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Results of one job. switches: what each trigger may do. random: for the back-off."""

    settings: TargetSettings
    switches: Mapping[Trigger, frozenset[OperationName]]
    job: Job
    random: Callable[[], float]

    def report(
        self, operation: OperationName, outcome: OutcomeName, *, detail: str = "", **known: Any
    ) -> Result:
        return Result(
            target=self.job.target,
            user=self.job.user,
            trigger=self._trigger(operation),
            operation=operation,
            outcome=outcome,
            detail=detail,
            attempt=self.job.attempt,
            **known,
        )

    def failure(self, operation: OperationName, error: ProvisioningError) -> Result:
        """Judges an error that concerns this user alone: again later, or a dead letter."""
        known: dict[str, Any] = {"status_code": error.status_code, "scim_type": error.scim_type}
        retryable = isinstance(error, Transient | Superseded)
        limit = self.settings.limits.max_attempts
        if not retryable:
            return self.report(operation, OutcomeName.FAILED, detail=error.detail, **known)
        known["unanswered"] = isinstance(error, AmbiguousWrite)
        known["silent"] = isinstance(error, Unanswered) and error.status_code is None
        if self.job.attempt >= limit:
            detail = f"gave up after {self.job.attempt} attempts: {error.detail}"
            return self.report(operation, OutcomeName.FAILED, detail=detail, **known)
        delay = error.retry_after_seconds or delay_seconds(self.job.attempt, self.random)
        if known["unanswered"]:
            delay = max(delay, LATE_SECONDS)
        return self.report(
            operation, OutcomeName.PENDING, detail=error.detail, retry_after_seconds=delay, **known
        )

    def allowed(self) -> frozenset[OperationName]:
        return allowed_operations(self.job.permits, self.switches)

    def _trigger(self, operation: OperationName) -> Trigger:
        """The trigger to name in history: the most personal one that permits the operation."""
        asked = self._asked()
        for trigger in asked:
            narrowed = self.job.permits[trigger]
            if operation in self.switches[trigger] and (narrowed is None or operation in narrowed):
                return trigger
        return asked[0] if asked else Trigger.SCHEDULED

    def _asked(self) -> Sequence[Trigger]:
        """The triggers that asked, the most personal one first."""
        return [trigger for trigger in _TRIGGERS if trigger in self.job.permits]

    def switched_off(self, name: OperationName) -> str:
        """Why an operation was skipped, with the switch's name."""
        triggers = self._asked()
        if any(name in self.switches[trigger] for trigger in triggers):
            return f"{name} is switched on, but was not asked for (--operation)"
        switches = " and ".join(f"targets.{self.job.target}.{trigger}.operations" for trigger in triggers)
        return f"{name} is switched off in {switches}"

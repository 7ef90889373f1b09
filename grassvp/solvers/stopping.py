"""Stopping rules: each looks at one record and says for which reason to stop, if any. Combine them with `|`."""

from dataclasses import dataclass

from grassvp.solvers.history import IterationRecord
from grassvp.solvers.status import Status

__all__ = ["AnyOf", "GradientTolerance", "MaxIterations", "MaxTime", "NonFinite", "StoppingRule"]


class StoppingRule:
    """Base of the rules; `first | second` stops where either does, `first` being asked first."""

    def check(self, record: IterationRecord) -> Status | None:
        """The reason to stop at `record`, or None to go on."""
        raise NotImplementedError

    def __or__(self, other: "StoppingRule") -> "AnyOf":
        """Either rule."""
        return AnyOf((self, other))


@dataclass(frozen=True)
class AnyOf(StoppingRule):
    """The first of several rules that wants to stop."""

    rules: tuple[StoppingRule, ...]

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        return next((status for rule in self.rules if (status := rule.check(record)) is not None), None)


@dataclass(frozen=True)
class NonFinite(StoppingRule):
    """The value or its gradient is NaN or infinite."""

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        finite = abs(record.value) < float("inf") and record.gradient_norm < float("inf")
        return None if finite else Status.NON_FINITE


@dataclass(frozen=True)
class GradientTolerance(StoppingRule):
    """gradient_norm <= threshold, the only rule that says CONVERGED."""

    threshold: float

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        return Status.CONVERGED if record.gradient_norm <= self.threshold else None


@dataclass(frozen=True)
class MaxIterations(StoppingRule):
    """A number of iterations."""

    limit: int

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        return Status.MAX_ITERATIONS if record.iteration >= self.limit else None


@dataclass(frozen=True)
class MaxTime(StoppingRule):
    """Wall-clock seconds since the first iteration began, checked after each one."""

    seconds: float

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        return Status.MAX_TIME if record.seconds >= self.seconds else None

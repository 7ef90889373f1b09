"""Stopping rules: each looks at one record and says for which reason to stop, if any. Combine them with `|`."""

import math
from dataclasses import dataclass

from grassvp.solvers.history import IterationRecord
from grassvp.solvers.status import Status

__all__ = ["AnyOf", "GradientTolerance", "MaxIterations", "MaxTime", "NonFinite", "StoppingRule"]


class StoppingRule:
    """Base of the rules; `first | second` stops where either does, `first` being asked first."""

    def check(self, record: IterationRecord) -> Status | None:
        """The reason to stop at `record`, or None to go on."""
        raise NotImplementedError

    def converged(self, record: IterationRecord) -> bool:
        """Whether a run that ends at `record` for another reason has converged all the same."""
        return False

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

    def converged(self, record: IterationRecord) -> bool:
        """See `StoppingRule`."""
        return any(rule.converged(record) for rule in self.rules)


@dataclass(frozen=True)
class NonFinite(StoppingRule):
    """The value or its gradient is NaN or infinite."""

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        finite = abs(record.value) < float("inf") and record.gradient_norm < float("inf")
        return None if finite else Status.NON_FINITE


@dataclass(frozen=True)
class GradientTolerance(StoppingRule):
    """gradient_norm <= threshold, the only rule that says CONVERGED.

    Attributes:
        threshold: what CONVERGED means.
        relative: where given, a run goes on until gradient_norm <= relative ||r|| too, or until it can go no further:
            a residual that is small makes every gradient small, long before its own minimum is found.
    """

    threshold: float
    relative: float | None = None

    def check(self, record: IterationRecord) -> Status | None:
        """See `StoppingRule`."""
        goal = self.threshold
        if self.relative is not None:
            goal = min(goal, self.relative * math.sqrt(2.0 * max(record.value, 0.0)))
        return Status.CONVERGED if record.gradient_norm <= goal else None

    def converged(self, record: IterationRecord) -> bool:
        """See `StoppingRule`."""
        return record.gradient_norm <= self.threshold


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

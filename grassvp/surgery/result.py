"""What an operation on neurons did, as a value."""

from dataclasses import dataclass, replace

from torch import Tensor

from grassvp.separable import SeparableProblem

__all__ = ["Operation", "SurgeryResult"]

SHOWN = 3


@dataclass(frozen=True)
class Operation:
    """One operation, done or refused.

    Attributes:
        kind: "merge", "drop", "prune" or "reseed".
        neurons: numbers of the neurons in the network before; of merged ones the first is kept.
        message: what was done, or why not, with its numbers.
        accepted: whether it was done.
    """

    kind: str
    neurons: tuple[int, ...]
    message: str
    accepted: bool = True

    @property
    def removed(self) -> tuple[int, ...]:
        """Numbers of the neurons that it removes."""
        return {"merge": self.neurons[1:], "reseed": ()}.get(self.kind, self.neurons)

    def refused(self, reason: str) -> "Operation":
        """The same, not done, and why."""
        return replace(self, accepted=False, message=f"refused: {self.message}; {reason}")


@dataclass(frozen=True, eq=False)
class SurgeryResult:
    """A problem and its parameters after operations on the neurons of its last hidden layer.

    Attributes:
        problem: with the features that are left; the problem itself where the width is kept or nothing was done.
        parameters: theta of this problem.
        operations: what was done and what was refused, in order.
        value_before: the reduced value before.
        value_after: the reduced value after, by a new linear solve.
        span_angle: the largest angle between a direction of the old span of W Phi and the new span, in radians; pi/2
            where a direction was lost. Directions of the old span are those whose singular value, with the columns
            scaled to length one, is above the tolerance times the largest.
        span_tolerance: angle up to which the span counts as preserved.
        width_before: neurons of the last hidden layer before.
        width_after: neurons of the last hidden layer after.
    """

    problem: SeparableProblem
    parameters: Tensor
    operations: tuple[Operation, ...]
    value_before: float
    value_after: float
    span_angle: float
    span_tolerance: float
    width_before: int
    width_after: int

    @property
    def value_change(self) -> float:
        """Value after minus value before."""
        return self.value_after - self.value_before

    @property
    def span_preserved(self) -> bool:
        """Whether the new span holds the old one, up to the tolerance."""
        return self.span_angle <= self.span_tolerance

    @property
    def changed(self) -> bool:
        """Whether any operation was done."""
        return any(operation.accepted for operation in self.operations)

    def __repr__(self) -> str:
        """Widths, value and span, and the first operations."""
        messages = [operation.message for operation in self.operations[:SHOWN]]
        more = len(self.operations) - len(messages)
        done = "; ".join([*messages, *([f"{more} more"] if more else [])]) or "nothing to do"
        return (
            f"SurgeryResult(width {self.width_before} -> {self.width_after}, value {self.value_before:.6g} "
            f"({self.value_change:+.2g}), span angle {self.span_angle:.2g}: {done})"
        )

"""What a solve leaves behind: one record an iterate, and the columns made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from torch import Tensor

__all__ = ["IterationRecord", "columns"]


@dataclass(frozen=True)
class IterationRecord:
    """One iterate as callbacks see it.

    Attributes:
        iteration: number of the iterate, 0 at the start.
        value: the objective.
        gradient_norm: 2-norm of its gradient.
        step_norm: 2-norm of the step that led here.
        damping: damping, step length or learning rate of that step.
        rank: numerical rank of the features; NaN for the joint problem.
        condition: condition number of the linear solve; NaN for the joint problem.
        distance: distance moved on the (regularised) Grassmannian by that step, radians; NaN for the joint problem.
        seconds: time since the start.
        evaluations: linear solves, or evaluations of the joint objective, so far.
        regularization: lam of the objective, which continuation changes on the way.
        parameters: theta as callbacks see it; not a column of the history, and empty in records that are kept.
    """

    iteration: int
    value: float
    gradient_norm: float
    step_norm: float
    damping: float
    rank: float
    condition: float
    distance: float
    seconds: float
    evaluations: int
    regularization: float
    parameters: Tensor

    def without_parameters(self) -> "IterationRecord":
        """The same record with empty parameters."""
        return replace(self, parameters=self.parameters[:0])


def columns(records: Sequence[IterationRecord]) -> dict[str, np.ndarray]:
    """The records as equally long arrays by column name, without the parameters."""
    names = [field.name for field in fields(IterationRecord) if field.name != "parameters"]
    return {name: np.array([getattr(record, name) for record in records]) for name in names}

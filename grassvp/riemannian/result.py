"""What a run leaves behind: one record an iterate, the columns made of them, and the result."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from grassvp.solvers.status import Status

__all__ = ["RiemannianRecord", "RiemannianResult", "columns"]


@dataclass(frozen=True)
class RiemannianRecord:
    """One iterate as callbacks see it.

    Attributes:
        iteration: number of the iterate, 0 at the start.
        value: the cost.
        gradient_norm: length of its Riemannian gradient.
        distance: geodesic distance moved since the last iterate; NaN where the manifold has no `dist`.
        seconds: time since the start.
        evaluations: evaluations of the cost, the gradient and the Hessian so far, together.
        cost_evaluations: evaluations of the cost so far.
        gradient_evaluations: evaluations of the gradient so far.
        hessian_evaluations: products with the Hessian so far.
        polish: whether a step of the finish led here.
        point: a copy of the point; not a column of the history, and None in records that are kept.
    """

    iteration: int
    value: float
    gradient_norm: float
    distance: float
    seconds: float
    evaluations: int
    cost_evaluations: int
    gradient_evaluations: int
    hessian_evaluations: int
    polish: bool
    point: Any = None

    def without_point(self) -> "RiemannianRecord":
        """The same record without the point."""
        return replace(self, point=None)


def columns(records: Sequence[RiemannianRecord]) -> dict[str, np.ndarray]:
    """The records as equally long arrays by column name, without the points."""
    names = [each.name for each in fields(RiemannianRecord) if each.name != "point"]
    return {name: np.array([getattr(record, name) for record in records]) for name in names}


@dataclass(frozen=True, eq=False)
class RiemannianResult:
    """Where a run ended and how it got there.

    Attributes:
        status: why it ended; CONVERGED only where gradient_norm <= tolerance * scale.
        point: the last point where it converged, the best one otherwise.
        value: the cost there; NaN where it could not be evaluated.
        gradient_norm: length of its Riemannian gradient.
        scale: the unit that the tolerance is relative to.
        iterations: iterates after the start.
        evaluations: how often "cost", "gradient" and "hessian" of the problem were evaluated.
        elapsed: seconds.
        history: column name -> array with one entry an iterate; see `RiemannianRecord`.
        detail: what the optimizer itself said when it ended, empty where the run was ended for it.
    """

    status: Status
    point: Any = field(repr=False)
    value: float
    gradient_norm: float
    scale: float
    iterations: int
    evaluations: dict[str, int]
    elapsed: float
    history: dict[str, np.ndarray] = field(repr=False)
    detail: str = ""

    @property
    def converged(self) -> bool:
        """Whether the gradient test holds."""
        return self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        """The status as a sentence with its numbers."""
        detail = f"; {self.detail}" if self.detail else ""
        return f"{self.status.value} (value {self.value:.3g}, gradient norm {self.gradient_norm:.3g}{detail})"

    def __repr__(self) -> str:
        """What one wants to know first."""
        return (
            f"RiemannianResult({self.status.name}, value {self.value:.3g}, gradient norm {self.gradient_norm:.3g}, "
            f"{self.iterations} iterations, {self.elapsed:.2g} s)"
        )

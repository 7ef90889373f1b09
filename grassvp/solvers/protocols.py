"""What solvers need of a problem, and what a method gives to the loop: solvers know problems by this alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from grassvp.bounds import Box
from grassvp.errors import NonFiniteError

__all__ = [
    "Iterate",
    "JointLeastSquaresProblem",
    "LeastSquaresPoint",
    "LeastSquaresProblem",
    "Method",
    "SeparableLeastSquaresProblem",
    "Steps",
    "attempt",
]


class LeastSquaresPoint(Protocol):
    """A nonlinear least-squares problem at one parameter vector: value = 1/2 ||residual||^2 and what follows.

    `projected_gradient` is the gradient without the entries that a bound holds, `units` natural sizes of the
    parameters where they are known, `memory_limit` the bytes that derivatives may take; `metric_entries` and
    `hessian_entries` are the sizes of what forming those matrices goes through.
    """

    @property
    def parameters(self) -> Tensor: ...
    @property
    def value(self) -> float: ...
    @property
    def value_rounding(self) -> float: ...
    @property
    def residual_rounding(self) -> float: ...
    @property
    def residual(self) -> Tensor: ...
    @property
    def gradient(self) -> Tensor: ...
    @property
    def projected_gradient(self) -> Tensor: ...
    @property
    def coefficients(self) -> Tensor: ...
    @property
    def rank(self) -> int: ...
    @property
    def regularization(self) -> float: ...
    @property
    def differentiable(self) -> bool: ...
    @property
    def condition(self) -> float: ...
    @property
    def bounds(self) -> Box | None: ...
    @property
    def units(self) -> Tensor | None: ...
    @property
    def memory_limit(self) -> int: ...
    @property
    def preferred_jacobian(self) -> str: ...
    def system_shape(self, kind: str) -> tuple[int, int]: ...
    def system_blocks(self, kind: str, entries: int) -> Iterator[tuple[Tensor, Tensor]]: ...
    def normal_matrix(self, kind: str, entries: int) -> tuple[Tensor, Tensor]: ...
    def jacobian_product(self, direction: Tensor) -> Tensor: ...
    def jacobian_adjoint_product(self, cotangent: Tensor) -> Tensor: ...
    def hessian(self, *, curvature: bool = True) -> Tensor: ...
    def hessian_vector_product(self, direction: Tensor, *, curvature: bool = True) -> Tensor: ...
    @property
    def hessian_entries(self) -> int: ...
    @property
    def metric_entries(self) -> int: ...
    def metric(self) -> Tensor: ...
    def metric_product(self, direction: Tensor) -> Tensor: ...
    def spare_gradient(self, sizes: Tensor) -> Tensor | None: ...
    def residual_at(self, parameters: Tensor) -> Tensor: ...
    def distance(self, other: Any) -> float: ...


class LeastSquaresProblem(Protocol):
    """A map from parameter vectors to points; `linearize` raises NonFiniteError where the model overflows."""

    def linearize(self, parameters: Any) -> Any: ...


class JointLeastSquaresProblem(LeastSquaresProblem, Protocol):
    """The problem in all variables at once, (theta, C) as one vector."""

    def start(self, parameters: Tensor, *, zero_coefficients: bool) -> Tensor: ...


class SeparableLeastSquaresProblem(LeastSquaresProblem, Protocol):
    """A reduced problem that knows the joint problem it came from."""

    @property
    def joint(self) -> JointLeastSquaresProblem: ...


@dataclass(frozen=True)
class Iterate:
    """One iterate as a method hands it to the loop.

    Attributes:
        point: the problem at the iterate.
        step_norm: 2-norm of the step that led here; 0 at the start.
        damping: damping, step length or learning rate used for it.
        evaluations: linear solves (or evaluations of the joint objective) so far.
        by_gradient: whether the step was taken because it lowers the gradient, the values being equal to rounding.
    """

    point: LeastSquaresPoint
    step_norm: float
    damping: float
    evaluations: int
    by_gradient: bool = False


Steps = Iterator[Iterate]
"""Yields the start and then one Iterate a step. The generator's return value is the Status for which it ended."""


class Method(Protocol):
    """A solver: yields its iterates from a start and returns a Status when it cannot go on. It holds no state."""

    def iterate(self, problem: Any, start: Tensor) -> Steps: ...


def attempt(problem: LeastSquaresProblem, parameters: Tensor) -> LeastSquaresPoint | None:
    """The problem at `parameters`, or None where it is not finite there: a step to be rejected, not a failure."""
    try:
        point = problem.linearize(parameters)
    except NonFiniteError:
        return None
    return point if point.value < float("inf") else None

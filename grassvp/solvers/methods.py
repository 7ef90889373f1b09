"""Named methods: each a pair of a descent and a search, run by one function."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_nonnegative
from grassvp.solvers.descents import GaussNewtonDescent, Step
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, attempt
from grassvp.solvers.searches import Backtracking, GainRatioDamping
from grassvp.solvers.status import Status

__all__ = ["GaussNewton", "LevenbergMarquardt", "descend"]

JACOBIANS = ("auto", "golub-pereyra", "kaufman")


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Gauss-Newton steps damped in the norm of the Jacobian's columns, the damping driven by the gain ratio.

    Attributes:
        jacobian: "golub-pereyra", "kaufman", or "auto": exact where that costs no more than Kaufman's approximation.
        initial_damping: mu of the first step, relative to the squared column norms of the Jacobian.

    Sources: J. More 1978 for the scaling, H. B. Nielsen 1999 for the damping.
    """

    jacobian: str = "auto"
    initial_damping: float = 1e-3

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.jacobian, "jacobian", JACOBIANS)
        check_nonnegative(self.initial_damping, "initial_damping")

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        return descend(problem, start, GaussNewtonDescent(self.jacobian), GainRatioDamping(self.initial_damping))


@dataclass(frozen=True)
class GaussNewton:
    """Undamped Gauss-Newton steps of minimum norm with Armijo backtracking: fast near a solution, fragile far from one.

    Attributes:
        jacobian: as for `LevenbergMarquardt`.
    """

    jacobian: str = "auto"

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.jacobian, "jacobian", JACOBIANS)

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        return descend(problem, start, GaussNewtonDescent(self.jacobian), Backtracking())


def descend(
    problem: LeastSquaresProblem, start: Tensor, descent: GaussNewtonDescent, search: GainRatioDamping | Backtracking
) -> Generator[Iterate, None, Status]:
    """Model, propose, try, accept: yields each accepted iterate and returns why there is no further one."""
    point, evaluations, control, model = attempt(problem, start), 1, search.start(), None
    if point is None:
        return Status.NON_FINITE
    yield Iterate(point, 0.0, control.level, evaluations)
    while True:
        model = descent(point, model)
        if not bool(torch.isfinite(model.triangle).all()):
            return Status.NON_FINITE
        accepted = None
        while accepted is None:
            step = search.propose(model, control)
            if search.exhausted(control) or _moves_nothing(step.vector, point.parameters):
                return Status.STALLED if point.differentiable else Status.RANK_DEFICIENT
            trial = attempt(problem, point.parameters + step.vector)
            evaluations += 1
            used = control.level
            success, control = search.judge(step, _reduction(point, trial, step), control)
            accepted = trial if success else None
        point = accepted
        yield Iterate(point, float(torch.linalg.vector_norm(step.vector)), used, evaluations)


def _reduction(point: LeastSquaresPoint, trial: LeastSquaresPoint | None, step: Step) -> float:
    """By how much the trial lowers the value; the prediction stands in where the difference of values is rounding.

    Near a minimum with a residual the value cannot tell two points apart long before the gradient is small. There a
    step counts as predicted if it lowers the gradient norm, and as a failure if it does not.
    """
    if trial is None:
        return -1.0
    if step.predicted_reduction > point.value_rounding:
        reduction = point.value - trial.value
        return reduction if reduction <= 0 or bool(torch.isfinite(trial.gradient).all()) else -1.0
    lower = torch.linalg.vector_norm(trial.gradient) < torch.linalg.vector_norm(point.gradient)
    return step.predicted_reduction if bool(lower) else -1.0


def _moves_nothing(step: Tensor, parameters: Tensor) -> bool:
    """True where no parameter would change at working precision."""
    return bool((step.abs() <= torch.finfo(step.dtype).eps * parameters.abs()).all())

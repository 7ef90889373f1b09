"""Named methods: each a pair of a descent and a search, run by one function."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_nonnegative
from grassvp.solvers.descents import GaussNewtonDescent
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
            if search.exhausted(control) or _is_lost_in_rounding(step.predicted_reduction, step.vector, point):
                return Status.STALLED if point.full_rank else Status.RANK_DEFICIENT
            trial = attempt(problem, point.parameters + step.vector)
            evaluations += 1
            reduction = -1.0 if trial is None else point.value - trial.value
            used = control.level
            success, control = search.judge(step, reduction, control)
            accepted = trial if success else None
        point = accepted
        yield Iterate(point, float(torch.linalg.vector_norm(step.vector)), used, evaluations)


def _is_lost_in_rounding(predicted: float, step: Tensor, point: LeastSquaresPoint) -> bool:
    """True where neither the value nor any parameter would change at working precision."""
    eps = torch.finfo(step.dtype).eps
    return predicted <= eps * point.value or bool((step.abs() <= eps * point.parameters.abs()).all())

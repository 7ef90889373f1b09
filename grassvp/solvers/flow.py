"""The gradient flow theta' = -grad psi(theta), integrated by scipy: a trajectory to look at, not a fast way down."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import integrate
from torch import Tensor

from grassvp.arrays import check_choice, check_nonnegative
from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.solvers.descents import MetricDescent
from grassvp.solvers.last_resort import downhill
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, attempt
from grassvp.solvers.status import Status

__all__ = ["GradientFlow"]

INTEGRATORS = {"rk23": "RK23", "rk45": "RK45", "dop853": "DOP853", "bdf": "BDF", "radau": "Radau"}
STIFF = ("bdf", "radau")
SHORTEST = 1e-20  # step limit, relative to the first one, below which an overflow is taken to be where the flow goes


@dataclass(frozen=True)
class GradientFlow:
    """theta' = -M(theta)^-1 grad psi(theta) from the start on, each step of the integrator an iterate.

    psi falls along its flow: a step at whose end it has risen by more than the tolerance is taken again, shorter. The
    status is told of the last point; the solution is the lowest one, which lies within the tolerance of it.

    The column "damping" of the history holds the steps in time, so that its cumulative sum is the time of each iterate.

    Attributes:
        metric: "euclidean" (M = I), or "grassmann": M is the metric of the (regularised) Grassmannian pulled back to
            theta, and the flow is the natural gradient flow.
        integrator: "rk23", "rk45" or "dop853" (explicit), "bdf" or "radau" (implicit, with the exact Hessian, for
            stiff problems in the Euclidean metric).
        tolerance: relative error that a step may make.
        damping: what is added to M, relative to its largest eigenvalue.
    """

    metric: str = "euclidean"
    integrator: str = "rk45"
    tolerance: float = 1e-6
    damping: float = 1e-12
    handles_bounds = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.metric, "metric", ("euclidean", "grassmann"))
        check_choice(self.integrator, "integrator", tuple(INTEGRATORS))
        check_nonnegative(self.damping, "damping")
        if not 1e-13 <= check_nonnegative(self.tolerance, "tolerance") < 1:
            raise ArgumentError(f"tolerance must be at least 1e-13 and below 1, got {self.tolerance}")
        if self.metric == "grassmann" and self.integrator in STIFF:
            raise ArgumentError(f"integrator must be explicit for metric 'grassmann', got {self.integrator!r}")

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        point = attempt(problem, start)
        if point is None:
            return Status.NON_FINITE
        yield Iterate(point, 0.0, 0.0, 1)
        field, time, longest = _Field(self, problem, point), 0.0, math.inf
        solver = None
        while True:
            try:
                solver = self._solver(field, time, point, longest) if solver is None else solver
                solver.step()
                ahead = field.point(solver.y)
                rises = ahead.value - point.value > self.tolerance * point.value + point.value_rounding
            except NonFiniteError:
                ahead, rises = None, True
            if ahead is None or solver is None or rises:  # go on from the last point with shorter steps
                longest = 0.1 * min(longest, field.time_scale(point) if solver is None else solver.h_abs)
                if longest < SHORTEST * (1.0 + time):
                    return Status.NON_FINITE if ahead is None else _stuck(problem, point)
                solver = None
                continue
            if solver.status == "failed" or float(solver.t) == time:
                return _stuck(problem, point)
            moved = float(torch.linalg.vector_norm(ahead.parameters - point.parameters))
            yield Iterate(ahead, moved, float(solver.t) - time, field.evaluations)
            point, time = ahead, float(solver.t)

    def _solver(self, field: "_Field", time: float, point: LeastSquaresPoint, longest: float) -> Any:
        theta = point.parameters.double().cpu().numpy()
        size = float(np.linalg.norm(theta)) / math.sqrt(theta.size) or 1.0
        options: dict[str, Any] = {"rtol": self.tolerance, "atol": self.tolerance * size, "max_step": longest}
        if math.isfinite(longest):
            options["first_step"] = longest  # scipy's own choice evaluates further ahead
        if self.integrator in STIFF:
            options["jac"] = field.jacobian
        return getattr(integrate, INTEGRATORS[self.integrator])(field, time, theta, math.inf, **options)


def _stuck(problem: LeastSquaresProblem, point: LeastSquaresPoint) -> Status:
    """Why the integrator finds no step that is short enough."""
    if not point.differentiable:
        return Status.RANK_DEFICIENT
    return Status.STALLED if downhill(problem, point)[0] is None else Status.DAMPED_OUT


class _Field:
    """The velocity as scipy asks for it; the point evaluated last is kept, because steps end where they evaluated."""

    def __init__(self, flow: GradientFlow, problem: LeastSquaresProblem, start: LeastSquaresPoint) -> None:
        self._problem, self._last, self.evaluations = problem, start, 1
        self._damping = flow.damping
        self._metric = MetricDescent() if flow.metric == "grassmann" else None

    def point(self, theta: np.ndarray) -> LeastSquaresPoint:
        """The problem at theta.

        Raises:
            NonFiniteError: it is not finite there.
        """
        vector = torch.from_numpy(np.array(theta, dtype=float)).to(self._last.parameters)
        if not torch.equal(vector, self._last.parameters):
            point = attempt(self._problem, vector)
            if point is None or not bool(torch.isfinite(point.gradient).all()):
                raise NonFiniteError("the objective or its gradient is not finite along the flow")
            self._last, self.evaluations = point, self.evaluations + 1
        return self._last

    def __call__(self, time: float, theta: np.ndarray) -> np.ndarray:
        point = self.point(theta)
        if self._metric is None:
            return -point.gradient.double().cpu().numpy()
        model = self._metric(point, None, 0.0)
        return model.solved(self._damping, 0.0, 0).vector.double().cpu().numpy()

    def time_scale(self, point: LeastSquaresPoint) -> float:
        """||theta|| / ||theta'||: about how long it takes to move by the size of theta."""
        theta = point.parameters.double().cpu().numpy()
        return float(np.linalg.norm(theta)) / float(np.linalg.norm(self(0.0, theta)))

    def jacobian(self, time: float, theta: np.ndarray) -> np.ndarray:
        """-H, (q, q)."""
        return -self.point(theta).hessian().double().cpu().numpy()

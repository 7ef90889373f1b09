"""Named methods: each a pair of a descent and a search, run by one function."""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.solvers.choices import WAYS, LinearAlgebra, formed_or_not, linear_algebra
from grassvp.solvers.descents import GaussNewtonDescent, HessianDescent, MetricDescent
from grassvp.solvers.iteration import descend
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, attempt
from grassvp.solvers.scaling import SCALINGS
from grassvp.solvers.searches import Accelerated, Backtracking, GainRatioDamping, TrustRadius
from grassvp.solvers.status import Status

__all__ = ["GaussNewton", "LevenbergMarquardt", "NaturalGradient", "TrustRegion", "resolve"]

JACOBIANS = ("auto", "golub-pereyra", "kaufman")
CURVATURES = ("gauss-newton", "corrected", "exact")
SUBPROBLEMS = ("auto", "exact", "dogleg", "steihaug")


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Gauss-Newton steps damped in a scaled norm, the damping driven by the gain ratio.

    Attributes:
        jacobian: "golub-pereyra", "kaufman", or "auto": exact where that costs no more than Kaufman's approximation.
        initial_damping: mu of the first step, relative to the largest squared column of J D^-1.
        scaling: what measures a step, ||D p||: "columns" of the Jacobian (More), "parameters" (relative changes), or
            "auto": parameters where the features know their units, as networks of `features.mlp` do.
        geodesic_acceleration: bend each step along its geodesic, at the cost of one more evaluation: fewer iterations
            in narrow curved valleys.
        linear_algebra: "dense", "dual", "matrix-free", or "auto", by size; see `grassvp.solvers.linear_algebra`.
        inner_tolerance: relative gradient that a matrix-free solve leaves.
        inner_iterations: products with J and with J^T that it may take.

    Sources: J. More 1978 for the scaling, H. B. Nielsen 1999 for the damping, M. Transtrum and J. Sethna 2012 for the
    acceleration.
    """

    jacobian: str = "auto"
    initial_damping: float = 1e-3
    scaling: str = "auto"
    geodesic_acceleration: bool = False
    linear_algebra: str = "auto"
    inner_tolerance: float = 0.1
    inner_iterations: int = 200
    handles_bounds = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_descent(self)
        check_nonnegative(self.initial_damping, "initial_damping")
        _check_flag(self.geodesic_acceleration, "geodesic_acceleration")

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        search = GainRatioDamping(self.initial_damping)
        descent = replace(_descent(self), damped=True)
        return descend(problem, start, descent, Accelerated(search) if self.geodesic_acceleration else search)


@dataclass(frozen=True)
class GaussNewton:
    """Undamped Gauss-Newton steps of minimum norm with Armijo backtracking: fast near a solution, fragile far from one.

    Attributes:
        jacobian, scaling, linear_algebra, inner_tolerance, inner_iterations: as for `LevenbergMarquardt`.
    """

    jacobian: str = "auto"
    scaling: str = "columns"
    linear_algebra: str = "auto"
    inner_tolerance: float = 1e-3
    inner_iterations: int = 200
    handles_bounds = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_descent(self)

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        return descend(problem, start, _descent(self), Backtracking())


@dataclass(frozen=True)
class TrustRegion:
    """Steps that minimise a quadratic model within a radius.

    Attributes:
        curvature: "gauss-newton" (J^T J), "corrected" (the Hessian without the term in the features' second
            derivatives) or "exact" (the Hessian). The last two may be indefinite: saddles are left along it.
        subproblem: "exact" (by singular values or eigenvalues), "dogleg" (Gauss-Newton only), "steihaug" (truncated
            conjugate gradients), or "auto": exact where the model is formed, steihaug where it is not.
        initial_radius: relative to ||D theta||.
        jacobian, scaling, linear_algebra: as for `LevenbergMarquardt`. "dual" is for Gauss-Newton only.
        inner_tolerance: relative gradient that conjugate gradients leave.
        inner_iterations: products that they may take.

    Sources: A. Conn, N. Gould, P. Toint, Trust-Region Methods, 2000; T. Steihaug 1983; M. J. D. Powell 1970.
    """

    curvature: str = "gauss-newton"
    subproblem: str = "auto"
    initial_radius: float = 1.0
    jacobian: str = "auto"
    scaling: str = "auto"
    linear_algebra: str = "auto"
    inner_tolerance: float = 0.1
    inner_iterations: int = 200
    handles_bounds = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_descent(self)
        check_choice(self.curvature, "curvature", CURVATURES)
        check_choice(self.subproblem, "subproblem", SUBPROBLEMS)
        if check_nonnegative(self.initial_radius, "initial_radius") == 0.0:
            raise ArgumentError("initial_radius must be > 0, got 0.0")
        if self.curvature == "gauss-newton":
            return
        if self.subproblem == "dogleg":
            raise ArgumentError(f"subproblem 'dogleg' needs curvature 'gauss-newton', got {self.curvature!r}")
        if self.linear_algebra == "dual":
            raise ArgumentError(f"linear_algebra 'dual' needs curvature 'gauss-newton', got {self.curvature!r}")

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        by_products = _way(self, problem, start) == "matrix-free"
        if by_products and self.subproblem == "exact" and self.curvature != "gauss-newton":
            raise ArgumentError(
                "subproblem 'exact' needs the Hessian, which is not formed with linear_algebra 'matrix-free' or where "
                "it does not fit in the problem's memory_limit: use 'steihaug' or 'auto'"
            )
        subproblem = self.subproblem if self.subproblem != "auto" else "steihaug" if by_products else "exact"
        if self.curvature == "gauss-newton" and not (by_products and subproblem == "steihaug"):
            descent = _descent(self)
        else:
            descent = HessianDescent(self.curvature, self.scaling, dense=not by_products)
        search = TrustRadius(subproblem, self.initial_radius, self.inner_tolerance, self.inner_iterations)
        return descend(problem, start, descent, search)


@dataclass(frozen=True)
class NaturalGradient:
    """Steepest descent in the metric of the (regularised) Grassmannian, pulled back to theta through the features.

    p = -(G + damping ||G|| I)^-1 grad psi in units of D, shortened by Armijo backtracking; a length that was accepted
    is doubled for the next step.

    Attributes:
        damping: relative to the largest eigenvalue of the metric, which is singular for redundant parameters.
        longest: longest step length tried, relative to the first, at which a line of the slope would be at zero.
        scaling: as for `LevenbergMarquardt`.
        linear_algebra: "dense" forms the metric (q, q), "matrix-free" multiplies with it, "auto" goes by size.
        inner_tolerance: relative residual that conjugate gradients leave.
        inner_iterations: products that they may take.

    Source: S. Amari 1998; the metric is that of the feature space on Gr(m, n), or at lam > 0 on Gr(m + n, n).
    """

    damping: float = 1e-10
    longest: float = 1e6
    scaling: str = "auto"
    linear_algebra: str = "auto"
    inner_tolerance: float = 1e-3
    inner_iterations: int = 200
    jacobian = "auto"
    handles_bounds = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_descent(self)
        check_nonnegative(self.damping, "damping")
        if check_nonnegative(self.longest, "longest") < 1.0:
            raise ArgumentError(f"longest must be >= 1, got {self.longest}")
        if self.linear_algebra == "dual":
            raise ArgumentError("linear_algebra must be 'auto', 'dense' or 'matrix-free' for a metric, got 'dual'")

    def iterate(self, problem: LeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        descent = MetricDescent(self.scaling, dense=_way(self, problem, start) != "matrix-free")
        search = Backtracking(
            self.damping, self.longest, tolerance=self.inner_tolerance, iterations=self.inner_iterations
        )
        return descend(problem, start, descent, search)


def resolve(method: Any, point: LeastSquaresPoint | None) -> tuple[Any, str]:
    """The method with its linear algebra chosen for problems like that of `point`, and the reason in a sentence."""
    if point is None:
        return method, "none: the start is not finite"
    if getattr(method, "linear_algebra", "given") != "auto":
        return method, "as given"
    choice = _choice(method, point)
    return replace(method, linear_algebra=choice.name), f"{choice.name}: {choice.reason}"


def _choice(method: Any, point: LeastSquaresPoint) -> LinearAlgebra:
    itemsize, limit = point.residual.element_size(), point.memory_limit
    if isinstance(method, NaturalGradient):
        return formed_or_not("metric", point.metric_entries, point.parameters.numel(), itemsize, limit)
    if isinstance(method, TrustRegion) and method.curvature != "gauss-newton":
        return formed_or_not("Hessian", point.hessian_entries, point.parameters.numel(), itemsize, limit)
    kind = point.preferred_jacobian if method.jacobian == "auto" else method.jacobian
    return linear_algebra(*point.system_shape(kind), itemsize, limit)


def _way(method: Any, problem: LeastSquaresProblem, start: Tensor) -> str:
    """The linear algebra of a method that was not resolved before it was run."""
    if method.linear_algebra != "auto":
        return method.linear_algebra
    point = attempt(problem, start)
    return "dense" if point is None else _choice(method, point).name


def _descent(method: LevenbergMarquardt | GaussNewton | TrustRegion) -> GaussNewtonDescent:
    return GaussNewtonDescent(
        method.jacobian, method.scaling, method.linear_algebra, method.inner_tolerance, method.inner_iterations
    )


def _check_descent(method: LevenbergMarquardt | GaussNewton | TrustRegion | NaturalGradient) -> None:
    check_choice(method.jacobian, "jacobian", JACOBIANS)
    check_choice(method.scaling, "scaling", SCALINGS)
    check_choice(method.linear_algebra, "linear_algebra", WAYS)
    check_count(method.inner_iterations, "inner_iterations")
    tolerance = check_nonnegative(method.inner_tolerance, "inner_tolerance")
    if not (math.isfinite(tolerance) and tolerance < 1):
        raise ArgumentError(f"inner_tolerance must be >= 0 and < 1, got {tolerance}")


def _check_flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name} must be True or False, got {value!r}")

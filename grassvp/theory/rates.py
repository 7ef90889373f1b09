"""Local convergence rates at a strict local minimum: predicted from the Hessian, measured by iterating.

Near a minimum theta* with Hessian H a method theta+ = theta - B^-1 grad psi moves the error by
e+ = (I - B^-1 H) e + O(|e|^2):
  gradient descent  B = I / step                  linear, rate max |1 - step mu| over the eigenvalues mu of H
  Gauss-Newton      B = J^T J at theta*           linear, rate = spectral radius of I - B^-1 H
  Newton            B = H                         quadratic: e+ = 1/2 H^-1 D^3 psi[e, e] + O(|e|^3)
The matrix T = I - B^-1 H is self-adjoint in the inner product <a, B b>. There the ratio of the norms of successive
errors is the root of a Rayleigh quotient of T^2, with twice the digits of the ratio of Euclidean norms.
At a minimum of a network with one hidden layer and one output, where no coefficient is zero, both Jacobians agree: each
parameter moves one feature, and r is orthogonal to its change.

Sources: J. M. Ortega, W. C. Rheinboldt 1970; A. Ruhe, P.-A. Wedin 1980 for the two Jacobians of variable projection.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem, check_free

__all__ = ["LINEAR_METHODS", "LocalRate", "NewtonRate", "linear_rate", "newton_rate", "strict_minimum"]

LINEAR_METHODS = ("gradient-descent", "gauss-newton-kaufman", "gauss-newton-golub-pereyra")
ERRORS = (1e-8, 1e-6)
"""Errors, relative to max(1, ||theta*||), between which an iteration is observed: above rounding, still linear."""

WINDOW = 20


@dataclass(frozen=True, eq=False)
class LocalRate:
    """Linear rate of a method at a minimum: ||e_{k+1}|| / ||e_k|| for k -> infinity.

    Attributes:
        method: one of `LINEAR_METHODS`.
        predicted: spectral radius of I - B^-1 H.
        measured: from the iteration.
        step: of gradient descent, None otherwise.
        iterations: how many were observed.
    """

    method: str
    predicted: float
    measured: float
    step: float | None
    iterations: int

    @property
    def error(self) -> float:
        """|measured - predicted| over the predicted rate or, where that is smaller, over its distance to 1."""
        scale = min(self.predicted, abs(1.0 - self.predicted))
        return abs(self.measured - self.predicted) / scale if scale > 0 else abs(self.measured)


@dataclass(frozen=True, eq=False)
class NewtonRate:
    """Quadratic convergence of Newton's method at a minimum.

    Attributes:
        predicted: ||1/2 H^-1 D^3 psi[e, e]|| / ||e||^2 for the direction observed, from differences of the Hessian.
        measured: ||e+|| / ||e||^2 for one step from a small error e, extrapolated to e = 0.
        order: log2 of the ratio of ||e+|| for e and e / 2, extrapolated to e = 0; 2 in theory.
    """

    predicted: float
    measured: float
    order: float

    @property
    def error(self) -> float:
        """|measured - predicted| / predicted."""
        return abs(self.measured - self.predicted) / self.predicted


def strict_minimum(problem: ReducedProblem, parameters: Any, *, max_iterations: int = 50) -> np.ndarray:
    """The critical point near `parameters` by Newton's method, to the last digit; a strict local minimum or an error.

    Args:
        problem: a reduced problem.
        parameters: (q,) close to a minimum, such as those of a converged `Solution`.
        max_iterations: Newton steps at most.

    Raises:
        ArgumentError: Newton's method leaves the neighbourhood or the Hessian there is not positive definite.
    """
    check_free(problem)
    check_count(max_iterations, "max_iterations")
    theta = problem.vector(parameters, "parameters").double().cpu().numpy()
    best, least = theta, np.inf
    for _ in range(max_iterations):
        gradient, H = problem.gradient(theta), problem.hessian(theta)
        if not np.isfinite(gradient).all():
            break
        step = np.linalg.lstsq(H, gradient, rcond=1e-15)[0]
        size = float(np.linalg.norm(step))
        if size >= 0.5 * least and size < 1e-9 * max(1.0, float(np.linalg.norm(theta))):
            break
        best, least, theta = theta, min(least, size), theta - step
    eigenvalues = np.linalg.eigvalsh(problem.hessian(best))
    if eigenvalues[0] <= 1e-10 * eigenvalues[-1] or least > 1e-6 * max(1.0, float(np.linalg.norm(best))):
        raise ArgumentError(
            f"parameters must be close to a strict local minimum: Newton's method ended with a step of {least:.3g} and "
            f"Hessian eigenvalues {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}; solve the problem first, or add "
            "regularization"
        )
    return best


def linear_rate(
    problem: ReducedProblem,
    minimum: Any,
    method: str,
    *,
    step: float | None = None,
    rng: Any = 0,
    tolerance: float = 1e-5,
    max_iterations: int = 20000,
) -> LocalRate:
    """Predicted and measured rate of a linearly convergent method at a strict local minimum.

    The method is iterated from a small random error until the ratio of successive errors settles. Errors that
    come near rounding or grow are rescaled and the iteration goes on, which shows fast and divergent methods too.

    Args:
        problem: a reduced problem.
        minimum: (q,) from `strict_minimum`.
        method: "gradient-descent", "gauss-newton-kaufman" or "gauss-newton-golub-pereyra".
        step: of gradient descent, by default 1 / (largest eigenvalue of H).
        rng: seed or numpy Generator of the first error.
        tolerance: the ratio has settled when its mean over 20 iterations changes by less than this, relative to the
            rate and to its distance to 1.
        max_iterations: at most so many.

    Raises:
        ArgumentError: an argument that cannot be used, by name.
    """
    check_free(problem)
    check_choice(method, "method", LINEAR_METHODS)
    theta = problem.vector(minimum, "minimum").double().cpu().numpy()
    H = problem.hessian(theta)
    largest = float(np.linalg.eigvalsh(H)[-1])
    if method == LINEAR_METHODS[0]:
        step = 1.0 / largest if step is None else check_nonnegative(step, "step")
        if step == 0.0:
            raise ArgumentError("step must be > 0, got 0")
    elif step is not None:
        raise ArgumentError(f"step is for gradient descent only, got {step} for {method}")
    update, B = _method(problem, theta, method, step)
    factors = eigh(H, B, eigvals_only=True)
    predicted = float(np.max(np.abs(1.0 - factors)))
    measured, iterations = _observe(update, theta, B, np.random.default_rng(rng), tolerance, max_iterations)
    return LocalRate(method, predicted, measured, step, iterations)


def newton_rate(problem: ReducedProblem, minimum: Any, *, rng: Any = 0, size: float = 1e-2) -> NewtonRate:
    """Newton's quadratic convergence at a strict local minimum along one random direction.

    Args:
        problem: a reduced problem.
        minimum: (q,) from `strict_minimum`.
        rng: seed or numpy Generator of the direction.
        size: ||e|| relative to max(1, ||theta*||), halved until one step leaves less than
            a thousandth of it.
    """
    check_free(problem)
    theta = problem.vector(minimum, "minimum").double().cpu().numpy()
    if not 0 < check_nonnegative(size, "size") < 1:
        raise ArgumentError(f"size must be between 0 and 1, got {size}")
    direction = np.random.default_rng(rng).standard_normal(theta.size)
    direction *= max(1.0, float(np.linalg.norm(theta))) / float(np.linalg.norm(direction))

    def remaining(scale: float) -> np.ndarray:
        e = scale * direction
        return e - np.linalg.solve(problem.hessian(theta + e), problem.gradient(theta + e))

    while size > 1e-6 and np.linalg.norm(remaining(size)) > 1e-3 * size * np.linalg.norm(direction):
        size /= 2
    left = [float(np.linalg.norm(remaining(size / part))) for part in (1, 2, 4)]
    constants = [value * part**2 / size**2 for value, part in zip(left, (1, 2, 4), strict=True)]
    orders = [math.log2(left[0] / left[1]), math.log2(left[1] / left[2])]
    bend = np.linalg.solve(problem.hessian(theta), _third_derivative(problem, theta, direction, size) @ direction)
    unit = float(direction @ direction)
    return NewtonRate(
        predicted=0.5 * float(np.linalg.norm(bend)) / unit,
        measured=(2.0 * constants[2] - constants[1]) / unit,
        order=2.0 * orders[1] - orders[0],
    )


def _third_derivative(problem: ReducedProblem, theta: np.ndarray, direction: np.ndarray, h: float) -> np.ndarray:
    """D^3 psi[direction], (q, q), by central differences of order 4 of the exact Hessian."""

    def difference(s: float) -> np.ndarray:
        return (problem.hessian(theta + s * direction) - problem.hessian(theta - s * direction)) / (2 * s)

    return (4 * difference(h / 2) - difference(h)) / 3


def _method(
    problem: ReducedProblem, minimum: np.ndarray, method: str, step: float | None
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """The map theta -> theta+ - theta, and B at the minimum."""
    if step is not None:
        return (lambda theta: -step * problem.gradient(theta)), np.eye(minimum.size) / step
    kind = method.removeprefix("gauss-newton-")

    def gauss_newton(theta: np.ndarray) -> np.ndarray:
        point = problem.linearize(theta)
        J = point.jacobian(kind).double().cpu().numpy()
        return -np.linalg.lstsq(J, point.residual.double().cpu().numpy().reshape(-1), rcond=1e-14)[0]

    J = problem.jacobian(minimum, kind)
    return gauss_newton, J.T @ J


def _observe(
    update: Callable[[np.ndarray], np.ndarray],
    minimum: np.ndarray,
    B: np.ndarray,
    generator: np.random.Generator,
    tolerance: float,
    max_iterations: int,
) -> tuple[float, int]:
    """sqrt(<e_{k+1}, B e_{k+1}> / <e_k, B e_k>) once its mean has settled, and the iterations it took."""
    low, high = (bound * max(1.0, float(np.linalg.norm(minimum))) for bound in ERRORS)
    middle = np.sqrt(low * high)
    error = generator.standard_normal(minimum.size)
    error *= middle / np.linalg.norm(error)
    quotients: list[float] = []
    for iteration in range(1, max_iterations + 1):
        size = float(np.linalg.norm(error))
        if not low < size < high:
            error *= middle / size
        following = error + update(minimum + error)
        quotients.append(math.sqrt(float(following @ B @ following) / float(error @ B @ error)))
        error = following
        if iteration % WINDOW == 0 and iteration >= 2 * WINDOW:
            before, now = np.mean(quotients[-2 * WINDOW : -WINDOW]), np.mean(quotients[-WINDOW:])
            if abs(now - before) < tolerance * min(abs(1.0 - now), now):
                break
    return float(np.mean(quotients[-WINDOW:])), len(quotients)

"""Gradient flow on the Grassmannian and on the regularised Grassmannian, integrated, beside its closed form.

The integrated side takes the Euclidean gradient, the manifold's own conversion of it and an integrator of order 8; it
knows nothing of the exponential. The other side is `closed_forms`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.theory.closed_forms import flow_matrices, flow_spans, flow_values
from grassvp.theory.integration import check_times, integrate, matrix
from manifolds import Grassmann, RegularizedGrassmann, polar_factor, project_out

__all__ = ["GradientFlow", "gradient_flow"]


LARGEST_NOISE = 1e-7
"""Relative rounding of the gradient beyond which an integration would say nothing."""


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """An integrated gradient flow at given times, and the closed form there.

    Attributes:
        times: (T,).
        points: (T, m, n), orthonormal bases at lam = 0, matrices Phi at lam > 0.
        values: (T,) f or f_lam at the points.
        closed_points: (T, m, n) closed form.
        closed_values: (T,) values of the closed form.
        distances: (T,) geodesic distances of the manifold between the two, in radians.
        scale: 1/2 ||Y||^2, the value of the zero function.
        regularization: lam.
        evaluations: gradients that the integration took.
    """

    times: np.ndarray
    points: np.ndarray
    values: np.ndarray
    closed_points: np.ndarray
    closed_values: np.ndarray
    distances: np.ndarray
    scale: float
    regularization: float
    evaluations: int

    @property
    def error(self) -> float:
        """Largest distance to the closed form."""
        return float(self.distances.max())

    @property
    def value_error(self) -> float:
        """Largest difference of the values over 1/2 ||Y||^2."""
        difference = float(np.abs(self.values - self.closed_values).max())
        return difference / self.scale if self.scale > 0 else difference

    def __repr__(self) -> str:
        """Where it went and how far from the closed form."""
        return (
            f"GradientFlow(value {self.values[0]:.6g} to {self.values[-1]:.6g} at time {self.times[-1]:.4g}, "
            f"distance to the closed form {self.error:.1e} rad)"
        )


def gradient_flow(
    targets: Any, start: Any, times: Any, *, regularization: float = 0.0, tolerance: float = 1e-12
) -> GradientFlow:
    """Follow point' = -grad f(point) from `start`, and compare with the closed form.

    lam = 0: U' = (I - U U^T) Y Y^T U on Gr(m, n). Orthonormality is attracting for this field, and is restored at every
    time. lam > 0: Phi' = -(1 / lam) (Phi Phi^T + lam I) E (Phi^T Phi + lam I) with the Euclidean gradient
    E = -(Y - Phi C) C^T, in the metric of Gr(m + n, n).

    Args:
        targets: Y, (m,) or (m, k).
        start: at lam = 0 any (m, n) of full column rank, whose span is the start; at lam > 0 any Phi (m, n).
        times: ascending, >= 0. The effort grows with ||Y||_2^2 times the last one; at lam > 0 the entries do so
            exponentially.
        regularization: lam >= 0.
        tolerance: relative error of a step.

    Raises:
        ArgumentError: an argument that cannot be used, by name; times at which ||Phi||^2 / lam is beyond about 5000.
        FlowError: the integrator could not go on.
    """
    lam = check_nonnegative(regularization, "regularization")
    if not 0 < check_nonnegative(tolerance, "tolerance") < 1:
        raise ArgumentError(f"tolerance must be between 0 and 1, got {tolerance}")
    Y, instants = matrix(targets, "targets"), check_times(times)
    X = matrix(start, "start", Y.shape[0])
    if lam == 0.0:
        closed = flow_spans(Y, X, instants)
        manifold, first, correct = Grassmann(X.shape[0], X.shape[1]), polar_factor(X), polar_factor
        velocity, value = partial(_subspace_velocity, manifold, Y), partial(_subspace_value, Y)
    else:
        closed = flow_matrices(Y, X, instants)
        manifold, first, correct = RegularizedGrassmann(X.shape[0], X.shape[1], lam), X, None
        velocity, value = partial(_regularized_velocity, manifold, Y), partial(_regularized_value, lam, Y)
        tolerance = _attainable(tolerance, lam, closed[-1])
    absolute = 1e-2 * tolerance * max(float(np.abs(first).max()), np.finfo(float).tiny)
    points, evaluations = integrate(velocity, first, instants, relative=tolerance, absolute=absolute, correct=correct)
    return GradientFlow(
        times=instants,
        points=points,
        values=np.array([value(point) for point in points]),
        closed_points=closed,
        closed_values=flow_values(Y, X, instants, regularization=lam),
        distances=np.array([float(manifold.dist(a, b)) for a, b in zip(points, closed, strict=True)]),
        scale=0.5 * float(np.sum(Y**2)),
        regularization=lam,
        evaluations=evaluations,
    )


def _subspace_velocity(manifold: Grassmann, Y: np.ndarray, U: np.ndarray) -> np.ndarray:
    return -manifold.euclidean_to_riemannian_gradient(U, -Y @ (Y.T @ U))


def _subspace_value(Y: np.ndarray, U: np.ndarray) -> float:
    return 0.5 * float(np.sum(project_out(U, Y) ** 2))


def _regularized_velocity(manifold: RegularizedGrassmann, Y: np.ndarray, Phi: np.ndarray) -> np.ndarray:
    R, C = _residual(manifold.regularization, Y, Phi)
    return -manifold.euclidean_to_riemannian_gradient(Phi, -R @ C.T)


def _regularized_value(lam: float, Y: np.ndarray, Phi: np.ndarray) -> float:
    R, C = _residual(lam, Y, Phi)
    return 0.5 * float(np.sum(R**2) + lam * np.sum(C**2))


def _residual(lam: float, Y: np.ndarray, Phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R = Y - Phi C and C of ridge regression, from the factors of Phi so that a small R keeps its digits."""
    U, s, Vh = np.linalg.svd(Phi, full_matrices=False)
    inside = U.T @ Y
    R = project_out(U, Y) + U @ ((lam / (s**2 + lam))[:, None] * inside)
    return R, Vh.T @ ((s / (s**2 + lam))[:, None] * inside)


def _attainable(tolerance: float, lam: float, largest: np.ndarray) -> float:
    """The tolerance, or what rounding leaves of it: the conversion magnifies it by up to (||Phi||^2 / lam)^1.5."""
    ratio = float(np.linalg.norm(largest, 2)) ** 2 / lam
    noise = 1e3 * np.finfo(float).eps * max(ratio, 1.0) ** 1.5
    if noise > LARGEST_NOISE:
        raise ArgumentError(
            f"times lead to ||Phi||_2^2 / regularization = {ratio:.3g}, where rounding of the gradient hides the flow: "
            "take shorter times, a smaller start or a larger regularization (flow_values has no such limit)"
        )
    return max(tolerance, noise)

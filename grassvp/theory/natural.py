"""Natural-gradient flow of network parameters: steepest descent in the metric of the (regularised) Grassmannian.

theta' is the vector of least norm that minimises || DPhi(theta) theta' + grad f(Phi) || in the metric at Phi: the
Riemannian gradient pulled back through the features. Where DPhi(theta) is onto R^{m x n} (over-parametrised), Phi moves
exactly by the gradient flow, that is by the closed form exp(Y Y^T t) Phi(0), or span(exp(Y Y^T t) Phi(0)) at lam = 0.

Source: S. Amari 1998 for the natural gradient; the metric and this reading of it are this project's own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem, check_free
from grassvp.theory.closed_forms import flow_values
from grassvp.theory.integration import check_times, integrate
from manifolds import Grassmann, RegularizedGrassmann, project_out

__all__ = ["NaturalFlow", "differential_matrix", "natural_gradient_flow", "natural_velocity"]


@dataclass(frozen=True, eq=False)
class NaturalFlow:
    """The natural-gradient flow at given times, and the closed form of the flow of Phi from the same start.

    Attributes:
        times: (T,).
        parameters: theta, (T, q).
        values: psi(theta), (T,).
        closed_values: (T,) the value on the closed form.
        ranks: (T,) numerical rank of DPhi(theta), at most the number of entries of Phi.
        entries: m n, the rank at which DPhi is onto.
        evaluations: velocities that the integration took.
    """

    times: np.ndarray
    parameters: np.ndarray
    values: np.ndarray
    closed_values: np.ndarray
    ranks: np.ndarray
    entries: int
    evaluations: int

    @property
    def onto(self) -> bool:
        """Whether DPhi was onto at all times, which is when the two must agree."""
        return bool((self.ranks == self.entries).all())

    @property
    def error(self) -> float:
        """Largest difference to the closed form over the value at the start."""
        return float(np.abs(self.values - self.closed_values).max() / self.closed_values[0])

    def __repr__(self) -> str:
        """Value, rank and agreement."""
        return (
            f"NaturalFlow(value {self.values[0]:.6g} to {self.values[-1]:.6g}, rank of DPhi {self.ranks.min()} of "
            f"{self.entries}, closed form within {self.error:.1e})"
        )


def natural_gradient_flow(
    problem: ReducedProblem,
    parameters: Any,
    times: Any,
    *,
    tolerance: float = 1e-10,
    rank_tolerance: float = 1e-9,
    max_evaluations: int = 10_000,
) -> NaturalFlow:
    """Follow the natural gradient in theta, beside the closed-form flow of Phi from Phi(theta(0)).

    Bounded features cannot follow the flow of Phi for ever: it leaves what they reach in finite time, where DPhi loses
    its rank and the integration stops. Row weights multiply Phi and Y.

    Args:
        problem: a reduced problem, lam >= 0.
        parameters: theta(0), (q,).
        times: ascending, >= 0.
        tolerance: relative error of a step.
        rank_tolerance: singular values of DPhi at or below this times the largest count as zero.
        max_evaluations: velocities at most, each a least-squares problem of size m n by q.

    Raises:
        ArgumentError, ArgumentTypeError: an argument that cannot be used, by name.
        FlowError: the integrator could not go on.
    """
    check_free(problem)
    instants = check_times(times)
    if not 0 < check_nonnegative(tolerance, "tolerance") < 1:
        raise ArgumentError(f"tolerance must be between 0 and 1, got {tolerance}")
    if check_nonnegative(rank_tolerance, "rank_tolerance") >= 1:
        raise ArgumentError(f"rank_tolerance must be < 1, got {rank_tolerance}")
    start = problem.vector(parameters, "parameters").cpu().numpy().astype(float)
    states, evaluations = integrate(
        lambda theta: natural_velocity(problem.linearize(theta), rank_tolerance),
        start,
        instants,
        relative=tolerance,
        absolute=tolerance,
        max_evaluations=max_evaluations,
    )
    points = [problem.linearize(theta) for theta in states]
    lam, Y = problem.problem.regularization, problem.problem.weighted_targets
    Phi = _weighted_features(problem.linearize(start))
    ranks = [
        np.linalg.matrix_rank(A, tol=rank_tolerance * np.linalg.norm(A, 2)) for A in map(differential_matrix, points)
    ]
    return NaturalFlow(
        times=instants,
        parameters=states,
        values=np.array([point.value for point in points]),
        closed_values=flow_values(Y, Phi, instants, regularization=lam),
        ranks=np.array(ranks),
        entries=Phi.size,
        evaluations=evaluations,
    )


def natural_velocity(point: Linearization, rank_tolerance: float = 1e-9) -> np.ndarray:
    """The natural-gradient direction theta', (q,), by least squares in orthonormal coordinates of the metric.

    lam > 0: minimise sqrt(lam) || (Phi Phi^T + lam I)^(-1/2) (DPhi theta' + grad f_lam) (Phi^T Phi + lam I)^(-1/2) ||.
    lam = 0, Phi = Q R: minimise || (I - Q Q^T) DPhi theta' R^-1 + grad f(Q) ||, only the span counts.
    """
    Phi, lam = _weighted_features(point), point.problem.regularization
    m, n = Phi.shape
    R, C = point.projection.residual.cpu().numpy(), point.coefficients.cpu().numpy()
    D = differential_matrix(point).reshape(m, n, -1)
    if lam > 0:
        gradient = RegularizedGrassmann(m, n, lam).euclidean_to_riemannian_gradient(Phi, -R @ C.T)
        columns = _whitened(Phi, lam, np.concatenate([D, gradient[:, :, None]], axis=2))
        A, b = columns[..., :-1], -columns[..., -1]
    else:
        Q, T = np.linalg.qr(Phi)
        A = project_out(Q, np.einsum("iaj,ab->ibj", D, np.linalg.inv(T)).reshape(m, -1))
        Y = point.problem.weighted_targets.cpu().numpy()
        b = -Grassmann(m, n).euclidean_to_riemannian_gradient(Q, -R @ (Y.T @ Q))
    return np.linalg.lstsq(A.reshape(m * n, -1), b.reshape(-1), rcond=rank_tolerance)[0]


def differential_matrix(point: Linearization) -> np.ndarray:
    """DPhi(theta) of the weighted features as a matrix (m n, q), rows in row-major order of Phi."""
    n = point.problem.width
    D = point.derivatives.contract(torch.eye(n, dtype=point.parameters.dtype, device=point.parameters.device))
    weights = point.problem.weights
    D = D if weights is None else weights[:, None, None] * D
    return D.reshape(-1, D.shape[-1]).double().cpu().numpy()


def _whitened(Phi: np.ndarray, lam: float, D: np.ndarray) -> np.ndarray:
    """sqrt(lam) S^(-1/2) D G^(-1/2) for each slice D[:, :, j], from the singular value decomposition of Phi."""
    U, s, Vh = np.linalg.svd(Phi, full_matrices=False)
    root = np.sqrt(s**2 + lam)
    left = D + np.einsum("ip,paj->iaj", U * (np.sqrt(lam) / root - 1.0), np.einsum("ip,iaj->paj", U, D))
    inner = np.einsum("iaj,pa->ipj", left, Vh) * (1.0 / root - 1.0 / np.sqrt(lam))[:, None]
    return left / np.sqrt(lam) + np.einsum("ipj,pa->iaj", inner, Vh)


def _weighted_features(point: Linearization) -> np.ndarray:
    values, weights = point.derivatives.values, point.problem.weights
    return (values if weights is None else weights[:, None] * values).double().cpu().numpy()

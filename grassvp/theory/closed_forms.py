"""The gradient flow of f and f_lam in closed form: Phi(t) = exp(M t) Phi(0), M = Y Y^T.

On Gr(m, n) the flow of f(U) = 1/2 ||(I - U U^T) Y||^2 is the subspace span(exp(M t) U(0)) (Oja's flow). On the
regularised Grassmannian the flow of f_lam is the matrix exp(M t) Phi(0) itself; the subspace [Phi; sqrt(lam) I] of
R^(m+n) then moves by the exponential of diag(M, 0), so that one computation serves both. M is never formed: with the
thin singular value decomposition Y = V S W^T, exp(M t) X = X + V (exp(S^2 t) - 1) V^T X.

At large t the rows of exp(M t) X in the basis V differ by hundreds of orders of magnitude and a plain orthonormal basis
loses all but the fastest direction. Householder QR with the rows sorted and the columns pivoted is backward stable row
by row (Powell and Reid 1969; Cox and Higham 1998), which here means: exact for a start changed by rounding.

Sources: E. Oja 1982, W.-Y. Yan, U. Helmke, J. B. Moore 1994 for the flow on the Grassmannian; the regularised flow is
this project's own derivation.
"""

import math
from typing import Any

import numpy as np
from scipy.linalg import qr

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.theory.integration import check_times, matrix
from manifolds import project_out

__all__ = ["flow_limit", "flow_matrices", "flow_spans", "flow_values", "logistic_cosines"]

LARGEST_EXPONENT = 300.0
"""mu t of one step: the exponential and its square stay finite."""


def flow_spans(targets: Any, start: Any, times: Any) -> np.ndarray:
    """Orthonormal bases (T, m, n) of span(exp(Y Y^T t) X), for any t.

    Args:
        targets: Y, (m,) or (m, k).
        start: X (m, n) of full column rank.
        times: ascending, >= 0.

    Raises:
        ArgumentError: wrong shapes, or X without full column rank.
    """
    Y = matrix(targets, "targets")
    X = matrix(start, "start", Y.shape[0])
    sizes = np.linalg.svd(X, compute_uv=False)
    if X.shape[1] > X.shape[0] or sizes[-1] <= 1e-13 * sizes[0]:
        raise ArgumentError(
            f"start must have full column rank, got shape {X.shape} with singular values {sizes[0]:.3g} to "
            f"{sizes[-1]:.3g}: drop dependent columns, or use regularization > 0, where any rank is allowed"
        )
    return _spans(Y, np.linalg.qr(X)[0], check_times(times))


def flow_matrices(targets: Any, start: Any, times: Any) -> np.ndarray:
    """exp(Y Y^T t) Phi(0), (T, m, n): the flow on the regularised Grassmannian, for every lam > 0 the same.

    Args:
        targets: Y, (m,) or (m, k).
        start: Phi(0), (m, n), any rank.
        times: ascending, >= 0.

    Raises:
        ArgumentError: wrong shapes, or times at which the entries overflow (`flow_values` has no such limit).
    """
    Y = matrix(targets, "targets")
    Phi, instants = matrix(start, "start", Y.shape[0]), check_times(times)
    V, mu = _eigenpairs(Y)
    if mu[0] * instants[-1] > 2 * LARGEST_EXPONENT:
        raise ArgumentError(
            f"times up to {instants[-1]:g} with ||Y||_2^2 = {mu[0]:g} make exp(Y Y^T t) overflow: stay below "
            f"{2 * LARGEST_EXPONENT / mu[0]:g}"
        )
    inside = V.T @ Phi
    return np.array([Phi + V @ (np.expm1(mu * t)[:, None] * inside) for t in instants])


def flow_values(targets: Any, start: Any, times: Any, *, regularization: float = 0.0) -> np.ndarray:
    """Value along the flow, f or (lam > 0) f_lam, (T,), for any t: 1/2 ||(I - P(t)) Y||^2 from the moved subspace.

    At lam > 0 the subspace is that of [Phi; sqrt(lam) I] and the targets are [Y; 0]. As f_lam depends on Phi Phi^T
    only, a rank-deficient start is first written with as many columns as its rank, which the flow then keeps exactly.

    Args:
        targets: Y, (m,) or (m, k).
        start: (m, n), of full column rank at lam = 0.
        times: ascending, >= 0.
        regularization: lam >= 0.
    """
    lam = check_nonnegative(regularization, "regularization")
    Y = matrix(targets, "targets")
    if lam == 0.0:
        return _values(Y, flow_spans(Y, start, times))
    Phi = _full_rank(matrix(start, "start", Y.shape[0]))
    n = Phi.shape[1]
    lifted = np.concatenate([Phi, math.sqrt(lam) * np.eye(n)])
    padded = np.concatenate([Y, np.zeros((n, Y.shape[1]))])
    return _values(padded, _spans(padded, np.linalg.qr(lifted)[0], check_times(times)))


def logistic_cosines(targets: Any, start: Any, times: Any) -> np.ndarray:
    """For one output y, c(t) = cos^2 of the angle between y and U(t): the logistic law c' = 2 ||y||^2 c (1 - c).

    c(t) = c / (c + (1 - c) exp(-2 ||y||^2 t)) with c = c(0), and f = 1/2 ||y||^2 (1 - c).

    Args:
        targets: y, (m,) or (m, 1), not zero.
        start: (m, n) of full column rank.
        times: ascending, >= 0.

    Raises:
        ArgumentError: more than one output, or y = 0.
    """
    y = matrix(targets, "targets")
    square = float(np.sum(y**2))
    if y.shape[1] != 1 or square == 0.0:
        raise ArgumentError(f"targets must be one output that is not zero, got shape {y.shape}, ||y||^2 = {square:g}")
    U, instants = np.linalg.qr(matrix(start, "start", y.shape[0]))[0], check_times(times)
    inside, outside = float(np.sum((U.T @ y) ** 2)), float(np.sum(project_out(U, y) ** 2))
    return inside / (inside + outside * np.exp(-2.0 * square * instants))


def flow_limit(targets: Any, start: Any, *, tolerance: float = 1e-10) -> float:
    """The value that the flow tends to: 1/2 sum of the eigenvalues of Y Y^T that the start does not reach.

    The start reaches mu_i where its part in the first i eigenvectors has a larger rank than that in the first i - 1.
    A generic start of rank rho reaches the leading rho eigenvalues, so that the limit is 1/2 sum_{i > rho} mu_i: on
    Gr(m, n), rho = n, the global minimum; at lam > 0 a value that no finite Phi attains. The same for any lam.

    Args:
        targets: Y, (m,) or (m, k).
        start: (m, n), any rank.
        tolerance: singular values below this times the largest do not count for a rank.
    """
    Y = matrix(targets, "targets")
    X = matrix(start, "start", Y.shape[0])
    level = check_nonnegative(tolerance, "tolerance") * max(float(np.linalg.norm(X, 2)), np.finfo(float).tiny)
    V, mu = _eigenpairs(Y)
    inside = V.T @ X
    ranks = [int(np.linalg.matrix_rank(inside[:count], tol=level)) for count in range(1, mu.size + 1)]
    reached = np.diff([0, *ranks]) > 0
    return 0.5 * float(mu[~reached].sum())


def _full_rank(Phi: np.ndarray) -> np.ndarray:
    """A matrix (m, rank) with the same Phi Phi^T, rounding noise left out."""
    U, s, _ = np.linalg.svd(Phi, full_matrices=False)
    rank = int(np.sum(s > max(Phi.shape) * np.finfo(float).eps * s[0]))
    return U[:, :rank] * s[:rank]


def _eigenpairs(Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors (m, r) of Y Y^T and its r = min(m, k) leading eigenvalues, largest first."""
    V, s, _ = np.linalg.svd(Y, full_matrices=False)
    return V, s**2


def _spans(Y: np.ndarray, basis: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Bases at all times from an orthonormal one, each from the one before."""
    V, mu = _eigenpairs(Y)
    bases, now = [], 0.0
    for time in times:
        steps = max(1, math.ceil(mu[0] * (time - now) / LARGEST_EXPONENT))
        for _ in range(steps if time > now else 0):
            basis = _advance(V, mu * ((time - now) / steps), basis)
        now = time
        bases.append(basis)
    return np.array(bases)


def _advance(V: np.ndarray, exponents: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the span of exp(V diag(exponents) V^T) X, X orthonormal."""
    inside = V.T @ X
    rows = np.concatenate([np.exp(exponents)[:, None] * inside, project_out(V, X)])
    order = np.argsort(-np.abs(rows).max(axis=1), kind="stable")
    Q = np.empty_like(rows)
    Q[order] = qr(rows[order], mode="economic", pivoting=True)[0]
    moved = V @ Q[: V.shape[1]] + Q[V.shape[1] :]
    return np.linalg.qr(moved)[0]


def _values(Y: np.ndarray, bases: np.ndarray) -> np.ndarray:
    return np.array([0.5 * np.sum(project_out(U, Y) ** 2) for U in bases])

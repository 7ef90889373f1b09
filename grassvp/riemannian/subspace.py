"""The value of a subspace for given targets, as a pymanopt problem on the (regularised) Grassmannian."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymanopt
from scipy.linalg import solve_triangular

from grassvp.arrays import check_count, check_nonnegative, to_tensor
from grassvp.errors import ArgumentError
from grassvp.riemannian.memo import Memo
from manifolds import Grassmann, RegularizedGrassmann

__all__ = ["SubspaceProblem", "subspace_problem"]


class SubspaceProblem(pymanopt.Problem):
    """A `pymanopt.Problem` made by `subspace_problem`.

    Attributes:
        targets: Y, (m, k), float64, read-only.
        regularization: lam.
        scale: ||Y||_F^2, the unit of the value and its derivatives.
    """

    targets: np.ndarray
    regularization: float
    scale: float

    def value_rounding(self, value: float) -> float:
        """Size of the rounding error of a value 1/2 ||R||^2: eps ||R|| ||Y||, as R carries the errors of Y."""
        return 2.0**-52 * math.sqrt(2.0 * max(value, 0.0) * self.scale)

    def __repr__(self) -> str:
        m, k = self.targets.shape
        return f"SubspaceProblem({m} rows, {k} outputs, on {self.manifold!r})"


def subspace_problem(targets: Any, n: int, *, regularization: float = 0.0) -> SubspaceProblem:
    """How well an n-dimensional subspace carries the targets Y, with gradient and Hessian in closed form.

    lam = 0, on `manifolds.Grassmann(m, n)`: f(U) = 1/2 ||R||^2 with R = (I - U U^T) Y, projected twice so that small
    residuals keep their digits; grad f = -R Y^T U; Hess f[D] = -R Y^T D + D (U^T Y)(Y^T U).

    lam > 0, on `manifolds.RegularizedGrassmann(m, n, lam)`: f(Phi) = min over C of 1/2 ||Y - Phi C||^2 +
    lam/2 ||C||^2; with M = Y Y^T and G = Phi^T Phi + lam I, grad f = -M Phi exactly, and Hess f[D] =
    -M D + D G^-1 Phi^T M Phi + M Phi G^-1 Phi^T D.

    Value, gradient and Hessian at one point share one evaluation. With n = m, or targets that are all zero, the
    problem is degenerate: every point is critical. At lam > 0 the least value is not attained but at infinity.

    Args:
        targets: Y, (m,) or (m, k), numpy or torch; computed in float64.
        n: dimension of the subspace, 1 <= n <= m; at lam > 0 n > m is allowed.
        regularization: lam >= 0.

    Raises:
        ArgumentError: a ValueError that names the argument: targets not finite, empty or not (m,) or (m, k); n out of
            range; lam < 0 or not finite.
        ArgumentTypeError: a TypeError: targets not real numbers, n not an integer, lam not a number.

    Source: the gradient and Hessian at lam = 0 follow A. Edelman, T. Arias, S. Smith, The geometry of algorithms with
    orthogonality constraints, 1998; the regularised geometry is this project's own definition.
    """
    Y = _check_targets(targets)
    n, lam = check_count(n, "n"), check_nonnegative(regularization, "regularization")
    m = Y.shape[0]
    if lam == 0.0 and n > m:
        raise ArgumentError(f"n must be at most {m}, the rows of targets, got {n}: R^{m} has no such subspace")
    manifold = Grassmann(m, n) if lam == 0.0 else RegularizedGrassmann(m, n, lam)
    memo: Memo[_Projected | _Regularized] = Memo(lambda point: _evaluate(Y, lam, point))

    @pymanopt.function.numpy(manifold)
    def cost(point):
        return memo(point).value

    @pymanopt.function.numpy(manifold)
    def gradient(point):
        return memo(point).gradient()

    @pymanopt.function.numpy(manifold)
    def hessian(point, tangent_vector):
        return memo(point).hessian(tangent_vector)

    problem = SubspaceProblem(manifold, cost, riemannian_gradient=gradient, riemannian_hessian=hessian)
    problem.targets, problem.regularization = Y, lam
    problem.scale = float(np.linalg.norm(Y)) ** 2
    return problem


def _check_targets(targets: Any) -> np.ndarray:
    tensor = to_tensor(targets, "targets")
    if tensor.ndim not in (1, 2):
        raise ArgumentError(f"targets must have shape (rows,) or (rows, outputs), got {tuple(tensor.shape)}")
    Y = tensor.reshape(tensor.shape[0], -1).double().cpu().numpy().copy()
    Y.setflags(write=False)
    return Y


def _evaluate(Y: np.ndarray, lam: float, point: np.ndarray) -> "_Projected | _Regularized":
    return _projected(Y, point) if lam == 0.0 else _regularized(Y, lam, point)


@dataclass(frozen=True)
class _Projected:
    """lam = 0: the residual R = (I - U U^T) Y and the components W = U^T Y."""

    value: float
    residual: np.ndarray
    inside: np.ndarray

    def gradient(self) -> np.ndarray:
        return -self.residual @ self.inside.T

    def hessian(self, direction: np.ndarray) -> np.ndarray:
        # Y^T D = R^T D for a tangent D: written so, the form is symmetric to the last digit.
        return direction @ (self.inside @ self.inside.T) - self.residual @ (self.residual.T @ direction)


def _projected(Y: np.ndarray, U: np.ndarray) -> _Projected:
    inside = U.T @ Y
    residual = Y - U @ inside
    again = U.T @ residual
    residual = residual - U @ again
    return _Projected(0.5 * float(np.sum(residual**2)), residual, inside + again)


@dataclass(frozen=True)
class _Regularized:
    """lam > 0: R = Y - Phi C and A = Y^T Phi; then Hess f[D] = -Y (R^T D) + D (C A)."""

    value: float
    targets: np.ndarray
    residual: np.ndarray
    coefficients: np.ndarray
    products: np.ndarray

    def gradient(self) -> np.ndarray:
        return -self.targets @ self.products

    def hessian(self, direction: np.ndarray) -> np.ndarray:
        return direction @ (self.coefficients @ self.products) - self.targets @ (self.residual.T @ direction)


def _regularized(Y: np.ndarray, lam: float, Phi: np.ndarray) -> _Regularized:
    (m, n), k = Phi.shape, Y.shape[1]
    Q, R = np.linalg.qr(np.concatenate([Phi, math.sqrt(lam) * np.eye(n)]))
    b = np.concatenate([Y, np.zeros((n, k))])
    inside = Q.T @ b
    residual = b - Q @ inside
    again = Q.T @ residual
    residual = residual - Q @ again
    C = solve_triangular(R, inside + again)
    return _Regularized(0.5 * float(np.sum(residual**2)), Y, residual[:m], C, Y.T @ Phi)

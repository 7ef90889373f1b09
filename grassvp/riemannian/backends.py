"""psi(theta) and its derivatives for pymanopt: the library's own formulas, and torch's automatic differentiation."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from grassvp.errors import NonFiniteError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.riemannian.memo import Memo

__all__ = ["AnalyticBackend", "TorchBackend", "check_full_rank"]


class AnalyticBackend:
    """`ReducedProblem`; value, gradient and Hessian products at one theta share one linearisation."""

    def __init__(self, reduced: ReducedProblem) -> None:
        self._reduced = reduced
        self._linearize: Memo[Linearization] = Memo(reduced.linearize)

    def value(self, parameters: np.ndarray) -> float:
        """psi(theta)."""
        return self._linearize(parameters).value

    def gradient(self, parameters: np.ndarray) -> np.ndarray:
        """Gradient (q,)."""
        return _numpy(self._linearize(parameters).gradient)

    def hessian_vector_product(self, parameters: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Hessian times v, (q,)."""
        v = self._reduced.vector(direction, "direction")
        return _numpy(self._linearize(parameters).hessian_vector_product(v))


class TorchBackend:
    """Reverse mode, twice for the Hessian, of 1/2 ||b - Q Q^T b||^2 with [W Phi; sqrt(lam) I] = Q R, b = [W Y; 0].

    Only pure functions of `torch.func` are differentiated, so that no tensor of the caller gets a gradient.
    """

    def __init__(self, reduced: ReducedProblem) -> None:
        self._reduced = reduced
        self._gradient = grad(self._value)
        self._product = grad(lambda theta, v: torch.dot(self._gradient(theta), v))

    def value(self, parameters: np.ndarray) -> float:
        """psi(theta)."""
        with torch.no_grad():
            return float(self._value(self._checked(parameters)))

    def gradient(self, parameters: np.ndarray) -> np.ndarray:
        """Gradient (q,)."""
        return _numpy(self._gradient(self._checked(parameters)))

    def hessian_vector_product(self, parameters: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Hessian times v, (q,)."""
        return _numpy(self._product(self._checked(parameters), self._reduced.vector(direction, "direction")))

    def _value(self, theta: Tensor) -> Tensor:
        problem = self._reduced.problem
        b = problem.weighted_targets
        if problem.regularization > 0.0:
            b = torch.cat([b, b.new_zeros(problem.width, b.shape[1])])
        Q = torch.linalg.qr(self._matrix(theta)).Q
        return 0.5 * torch.sum((b - Q @ (Q.T @ b)) ** 2)

    def _matrix(self, theta: Tensor) -> Tensor:
        problem = self._reduced.problem
        Phi = problem.features(theta, problem.inputs)
        A = Phi if problem.weights is None else problem.weights[:, None] * Phi
        if problem.regularization == 0.0:
            return A
        ridge = math.sqrt(problem.regularization) * torch.eye(problem.width, dtype=A.dtype, device=A.device)
        return torch.cat([A, ridge])

    def _checked(self, parameters: np.ndarray) -> Tensor:
        theta = self._reduced.vector(parameters, "parameters")
        with torch.no_grad():
            A = self._matrix(theta)
            if not bool(torch.isfinite(A).all()):
                raise NonFiniteError("the features have NaN or infinite entries")
            check_full_rank(torch.linalg.qr(A, mode="r").R.double().numpy(force=True))
        return theta


def check_full_rank(triangle: np.ndarray) -> None:
    """Raise unless the triangular factor (p, n) shows full column rank, without which psi has no derivative to take.

    Raises:
        NonFiniteError: fewer rows than columns, or a diagonal entry below 1e-13 of the largest.
    """
    diagonal = np.abs(np.diagonal(triangle))
    if triangle.shape[0] < triangle.shape[1] or diagonal.min() <= 1e-13 * diagonal.max():
        raise NonFiniteError(
            "the features are rank-deficient at regularization 0, where automatic differentiation through the solve "
            'fails: use backend="analytic" or regularization > 0'
        )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy().copy()

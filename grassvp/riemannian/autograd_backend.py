"""psi(theta) and its derivatives by HIPS autograd, with the network and the solve written again in autograd.numpy."""

import math
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as autograd_numpy
import numpy as np
from autograd.scipy.special import erf, erfc
from scipy.linalg import solve_triangular

from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.features import MLP, is_plain_mlp
from grassvp.reduced import ReducedProblem
from grassvp.riemannian.backends import check_full_rank

__all__ = ["AutogradBackend"]

anp: Any = autograd_numpy  # its members are made when it is imported: checkers do not see them

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": anp.tanh,
    "sin": anp.sin,
    "softplus": lambda z: anp.logaddexp(z, 0.0),
    "gelu": lambda z: 0.5 * z * erfc(-z * math.sqrt(0.5)),
    "erf": erf,
    "relu": lambda z: anp.where(z > 0.0, z, 0.0),
}


class AutogradBackend:
    """Reverse mode, twice for the Hessian, of the dense least-squares value.

    With A(theta) = [W Phi; sqrt(lam) I] and S the triangular factor of A at the point of evaluation, held constant,
    B = A S^-1 spans what A does and has orthonormal columns there, so that psi = 1/2 ||b - B (B^T B)^-1 B^T b||^2
    and its derivatives of every order come from a perfectly conditioned solve.

    Raises:
        ArgumentError: features that are not a plain `features.mlp`.
    """

    def __init__(self, reduced: ReducedProblem) -> None:
        problem = reduced.problem
        module = getattr(problem.features, "module", None)
        if module is None or not is_plain_mlp(module) or getattr(problem.features, "operator", None) is not None:
            raise ArgumentError(
                'backend "autograd" needs features made by features.mlp, without a differential operator or changes, '
                f"because it evaluates them again in autograd.numpy; got {type(module or problem.features).__name__}: "
                'use backend="torch" or "analytic"'
            )
        self._module: MLP = module
        self._inputs = _array(problem.inputs)
        self._lam, self._width = problem.regularization, problem.width
        self._weights = None if problem.weights is None else _array(problem.weights)[:, None]
        targets = _array(problem.weighted_targets)
        below = self._width if self._lam > 0.0 else 0
        self._b = np.concatenate([targets, np.zeros((below, targets.shape[1]))])
        self._gradient = autograd.grad(self._value)  # pyright: ignore[reportCallIssue]
        self._product = autograd.grad(self._slope)  # pyright: ignore[reportCallIssue]

    def value(self, parameters: np.ndarray) -> float:
        """psi(theta)."""
        return float(self._value(*self._arguments(parameters)))

    def gradient(self, parameters: np.ndarray) -> np.ndarray:
        """Gradient (q,)."""
        return np.array(self._gradient(*self._arguments(parameters)))

    def hessian_vector_product(self, parameters: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Hessian times v, (q,)."""
        v = np.array(direction, dtype=float)
        return np.array(self._product(*self._arguments(parameters), v))

    def _features(self, theta: Any) -> Any:
        h, start = self._inputs, 0
        for outside, inside in self._module.shapes:
            middle, end = start + outside * inside, start + outside * (inside + 1)
            weight, bias = anp.reshape(theta[start:middle], (outside, inside)), theta[middle:end]
            h, start = ACTIVATIONS[self._module.activation](anp.dot(h, weight.T) + bias), end
        return anp.concatenate([h, np.ones((len(h), 1))], axis=1) if self._module.bias_feature else h

    def _matrix(self, theta: Any) -> Any:
        Phi = self._features(theta)
        A = Phi if self._weights is None else self._weights * Phi
        if self._lam == 0.0:
            return A
        return anp.concatenate([A, math.sqrt(self._lam) * np.eye(self._width)], axis=0)

    def _value(self, theta: Any, inverse: np.ndarray) -> Any:
        B = anp.dot(self._matrix(theta), inverse)
        inside = anp.linalg.solve(anp.dot(B.T, B), anp.dot(B.T, self._b))
        return 0.5 * anp.sum((self._b - anp.dot(B, inside)) ** 2)

    def _slope(self, theta: Any, inverse: np.ndarray, direction: np.ndarray) -> Any:
        return anp.dot(self._gradient(theta, inverse), direction)

    def _arguments(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The parameters and S^-1 at them."""
        theta = np.array(parameters, dtype=float)
        with np.errstate(all="ignore"):
            A = self._matrix(theta)
        if not np.all(np.isfinite(A)):
            raise NonFiniteError("the features have NaN or infinite entries")
        S = np.asarray(np.linalg.qr(A, mode="r"))
        check_full_rank(S)
        return theta, solve_triangular(S, np.eye(self._width))


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().double().cpu().numpy().copy()

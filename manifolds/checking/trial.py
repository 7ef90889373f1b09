"""A cost with known derivatives, to hold a manifold's conversion of gradients and Hessians to."""

from typing import Any

import numpy as np
import pymanopt
from pymanopt.manifolds.manifold import RiemannianSubmanifold

from manifolds.checking.sampling import gaussian
from manifolds.checking.vectors import leaves

__all__ = ["trial_problem"]


def trial_problem(manifold: Any, point: Any, rng: np.random.Generator) -> pymanopt.Problem:
    """The problem with cost 1/2 sum Re <X, A X> + Re <B, X>, A Hermitian, over the arrays X of a point.

    The quadratic term is a function of X X^H: the same for every representative X Q of a subspace or a matrix X X^H,
    but constant on orthogonal matrices. The linear one is not; it is there where a point is one array of an embedded
    manifold, hence its own only representative.
    """
    arrays = leaves(point)
    A = [hermitian(array, rng) for array in arrays]
    single = manifold.point_layout == 1
    linear = 1.0 if single and isinstance(manifold, RiemannianSubmanifold) else 0.0
    B = [linear * gaussian(array, rng) for array in arrays]
    numpy_function = pymanopt.function.numpy(manifold)

    @numpy_function
    def cost(*X: Any) -> float:
        return sum(dot(x, 0.5 * a @ x + b) for x, a, b in zip(X, A, B, strict=True))

    @numpy_function
    def gradient(*X: Any) -> Any:
        parts = [a @ x + b for x, a, b in zip(X, A, B, strict=True)]
        return parts[0] if single else parts

    @numpy_function
    def hessian(*X_and_V: Any) -> Any:
        parts = [a @ v for a, v in zip(A, X_and_V[len(A) :], strict=True)]
        return parts[0] if single else parts

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def hermitian(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random Hermitian matrix that acts on the columns of an array, or on a vector."""
    n = like.shape[-2] if like.ndim > 1 else like.shape[0]
    square = gaussian(np.empty((n, n), dtype=like.dtype), rng)
    return 0.5 * (square + square.conj().T)


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """Re <x, y>."""
    return float(np.real(np.vdot(x, y)))

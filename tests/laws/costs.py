"""A smooth cost with its Euclidean derivatives, to try conversions of gradients and Hessians on."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cost:
    """1/2 tr X^T A X + 1/4 tr (X^T C X)^2 + tr B^T X: for B = 0 it depends on the span of orthonormal X alone."""

    A: Any
    B: Any
    C: Any

    def value(self, X) -> float:
        inside = transposed(X) @ self.C @ X
        return float(0.5 * (X * (self.A @ X)).sum() + 0.25 * (inside * inside).sum() + (self.B * X).sum())

    def gradient(self, X):
        return self.A @ X + self.C @ X @ (transposed(X) @ self.C @ X) + self.B

    def hessian(self, X, D):
        inside = transposed(X) @ self.C @ X
        change = transposed(D) @ self.C @ X + transposed(X) @ self.C @ D
        return self.A @ D + self.C @ D @ inside + self.C @ X @ change


def invariant_cost(point, vector, linear: bool) -> Cost:
    """A cost all of whose terms are of size one at the point; a linear term, which no class of bases has, on demand."""
    rng, shape = np.random.default_rng(7), tuple(point.shape)
    square = (*shape[:-1], shape[-2])
    size = max(float(np.linalg.norm(np.asarray(a, dtype=float).ravel())) for a in (point, vector)) or 1.0
    S, T, B = rng.standard_normal(square), rng.standard_normal(square), rng.standard_normal(shape)
    terms = [(S + transposed(S)) / size**2, B / size * linear, (T + transposed(T)) / size**2]
    return Cost(*(as_kind(t, point) for t in terms))


def transposed(array):
    return array.swapaxes(-1, -2)


def as_kind(array, like):
    if isinstance(like, np.ndarray):
        return np.asarray(array, dtype=like.dtype)
    return like.new_tensor(array)

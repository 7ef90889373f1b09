"""Points that are nothing but a residual and a Jacobian, or a gradient and a matrix: what descents and models see."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from grassvp.solvers.compression import Compressed
from grassvp.solvers.models import LeastSquaresModel, QuadraticModel
from grassvp.solvers.scaling import Scale


@dataclass
class Point:
    """A linear least-squares point: residual of any shape, `matrix` the derivative of residual.flatten().

    Its other kind of Jacobian is twice `matrix`, so that a mistaken choice shows; `calls` lists what it was asked for.
    """

    residual: torch.Tensor
    matrix: torch.Tensor
    preferred_jacobian: str = "kaufman"
    parameters: Any = None
    bounds: Any = None
    units: Any = None
    memory_limit: int = 2**31
    residual_rounding: float = 0.0
    second: Any = None  # q x q matrix that stands for the Hessian; the metric is three times it
    calls: list = field(default_factory=list)

    def __post_init__(self):
        if self.parameters is None:
            self.parameters = torch.ones(self.matrix.shape[1], dtype=self.matrix.dtype)

    @property
    def gradient(self):
        return self.matrix.T @ self.residual.reshape(-1)

    def system_shape(self, kind):
        return tuple(self.matrix.shape)

    def system_blocks(self, kind, entries):
        J = self.matrix if kind == self.preferred_jacobian else 2.0 * self.matrix
        size = max(1, entries // J.shape[1])
        self.calls.append(("blocks", kind, size))
        yield from zip(J.split(size), self.residual.reshape(-1).split(size), strict=True)

    def normal_matrix(self, kind, entries):
        self.calls.append(("normal", kind))
        J = self.matrix if kind == self.preferred_jacobian else 2.0 * self.matrix
        return J.T @ J, torch.sum(J * J, dim=0)

    def jacobian_product(self, direction):
        self.calls.append("product")
        return (self.matrix @ direction).view(self.residual.shape)

    def jacobian_adjoint_product(self, cotangent):
        self.calls.append("adjoint")
        return self.matrix.T @ cotangent.reshape(-1)

    def hessian(self, *, curvature=True):
        return self.second if curvature else self.second / 2

    def hessian_vector_product(self, direction, *, curvature=True):
        return self.hessian(curvature=curvature) @ direction

    def metric(self):
        return 3.0 * self.second

    def metric_product(self, direction):
        return 3.0 * self.second @ direction


def linear(rows, columns, *, deficient=False, spread=1.0, seed=0, **options):
    """A point with column sizes from 1 to `spread`; `deficient` repeats its first column and has a column of zeros."""
    rng = np.random.default_rng(seed)
    J = rng.standard_normal((rows, columns)) * np.geomspace(1.0, spread, columns)
    if deficient:
        J[:, 1], J[:, 2] = 2.0 * J[:, 0], 0.0
    return Point(torch.from_numpy(rng.standard_normal((rows // 2, 2))), torch.from_numpy(J), **options)


SHAPES = {
    "tall": lambda **o: linear(20, 5, **o),
    "wide": lambda **o: linear(4, 7, **o),
    "badly scaled": lambda **o: linear(20, 5, spread=1e6, **o),
    "deficient": lambda **o: linear(20, 5, deficient=True, **o),
}


def parts(point):
    """J and r as numpy arrays."""
    return point.matrix.numpy(), point.residual.numpy().ravel()


def scales(J):
    """D of More's scaling at a first point."""
    norms = np.linalg.norm(J, axis=0)
    return np.maximum(norms, 1e-8 * norms.max())


def damped(J, r, D, mu):
    """Minimiser of ||r + J p||^2 + mu ||D p||^2 by lstsq on the stacked system in the variable D p."""
    stacked = np.concatenate([J / D, math.sqrt(mu) * np.eye(len(D))])
    return np.linalg.lstsq(stacked, np.concatenate([-r, np.zeros(len(D))]), rcond=None)[0] / D


def least_squares_model(J, r, D=None):
    """The model of given J and r with D = `weights`, not compressed at all."""
    D = np.ones(J.shape[1]) if D is None else D
    J, r, D = (torch.from_numpy(np.asarray(a, dtype=float)) for a in (J, r, D))
    return LeastSquaresModel(Point(r[:, None], J), Compressed(J / D, r), Scale(D))


def quadratic_model(g, B, D=None, *, formed=True):
    """The model g^T p + 1/2 p^T B p with D = `weights`."""
    D = np.ones(len(g)) if D is None else D
    g, B, D = (torch.from_numpy(np.asarray(a, dtype=float)) for a in (g, B, D))
    scaled = B / D[:, None] / D
    return QuadraticModel(None, g / D, Scale(D), scaled if formed else None, lambda s: scaled @ s)

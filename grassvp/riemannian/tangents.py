"""Orthonormal bases of tangent spaces, and dense Riemannian Hessians in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymanopt.manifolds import Euclidean

from grassvp.riemannian.optimizers import global_generator
from manifolds import Grassmann, RegularizedGrassmann
from manifolds.tangents import tangent_chart

__all__ = ["TangentBasis", "tangent_basis"]


@dataclass(frozen=True)
class TangentBasis:
    """An isometry between the tangent space at a point and R^dim.

    Attributes:
        dim: dimension of the tangent space.
        vector: coordinates (dim,) -> tangent vector.
        coordinates: tangent vector -> coordinates (dim,).
    """

    dim: int
    vector: Callable[[np.ndarray], Any]
    coordinates: Callable[[Any], np.ndarray]

    def hessian(self, product: Callable[[Any], Any]) -> np.ndarray:
        """The symmetric matrix (dim, dim) of a product with a Hessian."""
        images = [self.coordinates(product(self.vector(row))) for row in np.eye(self.dim)]
        H = np.array(images).reshape(self.dim, self.dim)
        return (H + H.T) / 2


def tangent_basis(manifold: Any, point: Any) -> TangentBasis:
    """A basis at `point`: in closed form on both Grassmannians and Euclidean spaces, by Gram-Schmidt elsewhere."""
    if isinstance(manifold, RegularizedGrassmann) or (isinstance(manifold, Grassmann) and manifold.k == 1):
        chart = tangent_chart(manifold, point)
        return TangentBasis(chart.dimension, chart.tangent_vector, chart.coordinates)
    if isinstance(manifold, Euclidean):
        shape = np.shape(point)
        return TangentBasis(int(manifold.dim), lambda c: c.reshape(shape), np.ravel)
    return _gram_schmidt(manifold, point)


def _gram_schmidt(manifold: Any, point: Any) -> TangentBasis:
    """From random tangent vectors, orthogonalised twice, with the manifold's own inner product."""
    dim = int(manifold.dim)
    basis: list[Any] = []
    with global_generator(np.random.default_rng(0)):
        while len(basis) < dim:
            vector = manifold.random_tangent_vector(point)
            for _ in range(2):
                for other in basis:
                    vector = vector - float(np.real(manifold.inner_product(point, other, vector))) * other
                vector = vector / float(np.real(manifold.norm(point, vector)))
            basis.append(vector)

    def combine(c: np.ndarray) -> Any:
        return sum((x * b for x, b in zip(c, basis, strict=True)), start=manifold.zero_vector(point))

    def coordinates(vector: Any) -> np.ndarray:
        return np.array([float(np.real(manifold.inner_product(point, b, vector))) for b in basis])

    return TangentBasis(dim, combine, coordinates)

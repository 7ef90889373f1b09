"""Tangent spaces in orthonormal coordinates of the manifold's metric, where a Hessian is a symmetric matrix.

A chart is a linear isometry between the tangent space at one point and R^dim. Three are closed forms and cost no more
than a few products with (m, n) matrices; any other manifold gets a basis by projecting random vectors.

  Grassmann             D = V Z, V an orthonormal basis of the complement of the span, made from the basis itself
  RegularizedGrassmann  D = S^(1/2) Z G^(1/2) / sqrt(lam), S = Phi Phi^T + lam I, G = Phi^T Phi + lam I, because
                        g(D, E) = lam <S^-1 D G^-1, E>
  flat                  D = Z
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from manifolds.grassmann import Grassmann
from manifolds.regularized_grassmann import RegularizedGrassmann

__all__ = ["BasisChart", "FlatChart", "GrassmannChart", "RegularizedChart", "TangentChart", "tangent_chart"]

SPARE = 4
SEED = 20240229  # unlike any that a point may have been drawn from: the projection of that very draw would be zero


class TangentChart(Protocol):
    """A linear isometry between the tangent space at a point and R^dimension."""

    @property
    def dimension(self) -> int:
        """Dimension of the tangent space."""
        ...

    def coordinates(self, tangent_vector: np.ndarray) -> np.ndarray:
        """Coordinates (dimension,) of a tangent vector; the tangent part of any ambient vector."""
        ...

    def tangent_vector(self, coordinates: np.ndarray) -> np.ndarray:
        """The tangent vector with these coordinates, in the shape of a point."""
        ...


def tangent_chart(manifold: Any, point: np.ndarray) -> TangentChart:
    """The chart at a point of any manifold with pymanopt's interface whose points are single arrays.

    Raises:
        TypeError: points of the manifold are lists of arrays.
    """
    if not isinstance(point, np.ndarray) or np.iscomplexobj(point):
        raise TypeError(f"point must be one real array for {manifold}, got {type(point).__name__}")
    if isinstance(manifold, Grassmann) and manifold.k == 1:
        return GrassmannChart.at(point)
    if isinstance(manifold, RegularizedGrassmann):
        return RegularizedChart.at(point, manifold.regularization)
    if manifold.dim == point.size and _is_flat(manifold, point, _projected_draws(manifold, point, 3)):
        return FlatChart(point.shape)
    return BasisChart.at(manifold, point)


@dataclass(frozen=True, eq=False)
class FlatChart:
    """All arrays of one shape, with the Euclidean metric."""

    shape: tuple[int, ...]

    @property
    def dimension(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def coordinates(self, tangent_vector: np.ndarray) -> np.ndarray:
        """See `TangentChart`."""
        return np.asarray(tangent_vector, dtype=float).reshape(-1)

    def tangent_vector(self, coordinates: np.ndarray) -> np.ndarray:
        """See `TangentChart`."""
        return coordinates.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class GrassmannChart:
    """The complement of span [A; B], A (n, n) symmetric positive semidefinite, has the orthonormal basis
    V = [-B^T; I - B (I + A)^-1 B^T]: V Z and V^T D need no (m, m) matrix, and no inverse but that of I + A >= I.

    Attributes:
        lower: B, (m - n, n), for the representative whose upper block A is symmetric.
        coupling: B (I + A)^-1.
    """

    lower: np.ndarray
    coupling: np.ndarray

    @staticmethod
    def at(point: np.ndarray) -> "GrassmannChart":
        """The chart at an orthonormal basis (m, n)."""
        n = point.shape[1]
        W, s, Vt = np.linalg.svd(point[:n])
        lower = point[n:] @ (Vt.T @ W.T)  # the polar factor of the upper block turns it into W diag(s) W^T
        return GrassmannChart(lower, lower @ ((W / (1.0 + s)) @ W.T))

    @property
    def dimension(self) -> int:
        """The number n (m - n)."""
        return self.lower.size

    def coordinates(self, tangent_vector: np.ndarray) -> np.ndarray:
        """V^T D."""
        n = self.lower.shape[1]
        above, below = tangent_vector[:n], tangent_vector[n:]
        return (below - self.lower @ above - self.coupling @ (self.lower.T @ below)).reshape(-1)

    def tangent_vector(self, coordinates: np.ndarray) -> np.ndarray:
        """V Z."""
        Z = coordinates.reshape(self.lower.shape)
        return np.concatenate([-self.lower.T @ Z, Z - self.lower @ (self.coupling.T @ Z)])


@dataclass(frozen=True, eq=False)
class RegularizedChart:
    """Z = sqrt(lam) S^(-1/2) D G^(-1/2), from the thin singular value decomposition Phi = Q diag(s) V^T.

    Attributes:
        left: Q, (m, p) with p = min(m, n).
        right: V^T, (p, n).
        stretch: sqrt(s^2 + lam) / sqrt(lam), (p,), at least 1.
        root: sqrt(lam).
    """

    left: np.ndarray
    right: np.ndarray
    stretch: np.ndarray
    root: float

    @staticmethod
    def at(point: np.ndarray, regularization: float) -> "RegularizedChart":
        """The chart at any (m, n) matrix."""
        Q, s, Vt = np.linalg.svd(point, full_matrices=False)
        root = math.sqrt(regularization)
        return RegularizedChart(Q, Vt, np.hypot(s, root) / root, root)

    @property
    def dimension(self) -> int:
        """The number m n."""
        return self.left.shape[0] * self.right.shape[1]

    def coordinates(self, tangent_vector: np.ndarray) -> np.ndarray:
        """See `TangentChart`."""
        return (self._scaled(tangent_vector, 1.0 / self.stretch) / self.root).reshape(-1)

    def tangent_vector(self, coordinates: np.ndarray) -> np.ndarray:
        """See `TangentChart`."""
        Z = coordinates.reshape(self.left.shape[0], self.right.shape[1])
        return self.root * self._scaled(Z, self.stretch)

    def _scaled(self, matrix: np.ndarray, stretch: np.ndarray) -> np.ndarray:
        """S^(t/2) X G^(t/2) / lam^t: the parts in the singular spaces are stretched, the others stay."""
        excess = (stretch - 1.0)[:, None]
        rows = matrix + self.left @ (excess * (self.left.T @ matrix))
        return rows + ((rows @ self.right.T) * excess.T) @ self.right


@dataclass(frozen=True, eq=False)
class BasisChart:
    """A basis of the tangent space, orthonormal in the manifold's metric, stored in full.

    Attributes:
        manifold: any manifold with pymanopt's interface.
        point: where.
        basis: (dim, *shape of a point).
        euclidean: whether the metric is the Euclidean one of the stored arrays.
    """

    manifold: Any
    point: np.ndarray
    basis: np.ndarray
    euclidean: bool

    @staticmethod
    def at(manifold: Any, point: np.ndarray) -> "BasisChart":
        """The span of some more projected random arrays than needed, orthonormalised by Cholesky factors."""
        dim = int(manifold.dim)
        draws = _projected_draws(manifold, point, dim + SPARE)
        euclidean = _is_flat(manifold, point, draws[:3])
        spanning = np.linalg.svd(draws.reshape(dim + SPARE, -1), full_matrices=False)[2][:dim]
        chart = BasisChart(manifold, point, spanning.reshape(dim, *point.shape), euclidean)
        for _ in range(3):
            L = np.linalg.cholesky(chart._gram())
            flat = np.linalg.solve(L, chart.basis.reshape(dim, -1))
            chart = BasisChart(manifold, point, flat.reshape(chart.basis.shape), euclidean)
        return chart

    @property
    def dimension(self) -> int:
        """Dimension of the manifold."""
        return self.basis.shape[0]

    def coordinates(self, tangent_vector: np.ndarray) -> np.ndarray:
        """g(b_i, D) for each basis vector."""
        if self.euclidean:
            return self._flat @ np.asarray(tangent_vector).reshape(-1)
        return np.array([float(self.manifold.inner_product(self.point, b, tangent_vector)) for b in self.basis])

    def tangent_vector(self, coordinates: np.ndarray) -> np.ndarray:
        """sum_i z_i b_i."""
        return (coordinates @ self._flat).reshape(self.point.shape)

    @cached_property
    def _flat(self) -> np.ndarray:
        return self.basis.reshape(self.dimension, -1)

    def _gram(self) -> np.ndarray:
        gram = np.stack([self.coordinates(b) for b in self.basis])
        return 0.5 * (gram + gram.T)


def _projected_draws(manifold: Any, point: np.ndarray, count: int) -> np.ndarray:
    """`count` tangent vectors: projections of Gaussian arrays from a fixed seed, of which any will do."""
    rng = np.random.default_rng(SEED)
    draws = [manifold.projection(point, rng.standard_normal(point.shape)) for _ in range(count)]
    return np.array(draws).reshape(count, *point.shape)


def _is_flat(manifold: Any, point: np.ndarray, vectors: np.ndarray) -> bool:
    """Whether the metric is the Euclidean product of the arrays: two bilinear forms that agree on random vectors do."""
    for u in vectors:
        for v in vectors:
            allowed = 1e-13 * math.sqrt(u.size) * float(np.linalg.norm(u) * np.linalg.norm(v))
            if abs(float(manifold.inner_product(point, u, v)) - float(np.sum(u * v))) > allowed:
                return False
    return True

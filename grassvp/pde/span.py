"""The span of a network's features on a box of space, factored once: a point of the Grassmannian that steps move in.

The trial functions are D(x) phi_j(e(x)): e makes periodic coordinates points of a circle, D vanishes on the faces with
prescribed values. With W the weights of a quadrature, W^1/2 Phi = U S V^T, and what is above the cut is kept: the
functions Phi V S^-1 are orthonormal in L2, and U holds their values.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from grassvp import features
from grassvp.errors import NonFiniteError
from grassvp.pde.fields import Index
from grassvp.pde.heat import Heat
from grassvp.pde.quadrature import Quadrature
from manifolds.subspaces import subspace_distance

__all__ = ["CUT", "VALUE", "Span"]

CUT = 1e-13
"""Singular values of the features at or below this times the largest are cut off."""

VALUE: Index = ()


@dataclass(frozen=True, eq=False)
class Span:
    """The trial functions of a network at parameters theta and their orthonormal basis.

    Attributes:
        heat: the equation, whose box, periodic coordinates and prescribed values shape the functions.
        network: maps (rows, embedded coordinates) to (rows, n).
        parameters: theta, (q,).
        grid: the quadrature.
        basis: U, (rows, r), of W^1/2 Phi.
        coefficients: T = V S^-1, (n, r): the orthonormal functions are Phi T, those with the largest singular values
            first.
        singular_values: all of them, descending.
    """

    heat: Heat
    network: nn.Module
    parameters: Tensor
    grid: Quadrature
    basis: Tensor
    coefficients: Tensor
    singular_values: Tensor

    @property
    def rank(self) -> int:
        """Dimension r of the span, above the cut."""
        return self.basis.shape[1]

    @classmethod
    def of(cls, heat: Heat, network: nn.Module, parameters: Tensor, grid: Quadrature) -> "Span":
        """Factor the features at some parameters.

        Raises:
            NonFiniteError: they are not finite.
        """
        Phi = trial_values(heat, network, parameters, grid.points, {VALUE: torch.ones_like(grid.weights)})
        if not bool(torch.isfinite(Phi).all()):
            raise NonFiniteError(f"the {tuple(Phi.shape)} features have NaN or infinite entries")
        U, S, Vh = torch.linalg.svd(grid.roots[:, None] * Phi, full_matrices=False)
        kept = int((CUT * S[0] < S).sum())
        return cls(heat, network, parameters, grid, U[:, :kept], Vh[:kept].T / S[:kept], S)

    def values(self, points: Tensor, terms: dict[Index, Tensor]) -> Tensor:
        """A differential operator on the orthonormal functions, (rows, r), from its coefficients by derivative."""
        return trial_values(self.heat, self.network, self.parameters, points, terms) @ self.coefficients

    def distance(self, other: "Span") -> float:
        """Geodesic distance, in radians, of two spans on one quadrature, cut to the smaller of their dimensions."""
        kept = min(self.rank, other.rank)
        return float(subspace_distance(self.basis[:, :kept], other.basis[:, :kept]))

    @cached_property
    def condition(self) -> float:
        """Largest over smallest singular value that was kept."""
        return float(self.singular_values[0] / self.singular_values[self.rank - 1])


def trial_values(
    heat: Heat, network: nn.Module, parameters: Tensor, points: Tensor, terms: dict[Index, Tensor]
) -> Tensor:
    """A differential operator on the trial functions D phi_j(e), (rows, n), from its coefficients by derivative."""
    inner = heat.embedding.apply(heat.multiplier.apply(terms, points)[0], points)
    operator = features.differential_operator(len(points), heat.embedding.width, inner)
    applied = features.under_operator(network, operator)
    with torch.no_grad():
        return applied(parameters, applied.prepare(heat.embedding(points)))

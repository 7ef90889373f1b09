"""The spectrum of a feature matrix and what the targets look like in it: all that choosing lam needs to know."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grassvp.projection.projection import Projection, default_rank_tolerance

__all__ = ["Spectrum"]

DECADES = 300.0  # of lam to either side of 1 that float64 holds with all digits


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A = U diag(s) V^T, of rank p, with the coordinates of the targets in U; always float64.

    For every lam the minimiser of ||A C - Y||^2 + lam ||C||^2 has A C = U diag(f) U^T Y with the filters
    f_i = s_i^2 / (s_i^2 + lam), so that a function of lam costs O(p k) once this is known.

    Attributes:
        singular_values: s, (p,), descending; those that are rounding noise are left out.
        coordinates: Z = U^T Y, (p, k).
        outside: ||(I - U U^T) Y||^2.
        rows: m, rows of A that the sums stand for.
        floor: lam below which the filters of A are those of rounding noise.
        left: (m, r) orthonormal basis and (r, p) matrix whose product is U; None where rows are not kept.
        right: V, (n, p); None where it is not kept.
    """

    singular_values: Tensor
    coordinates: Tensor
    outside: float
    rows: float
    floor: float
    left: tuple[Tensor, Tensor] | None = None
    right: Tensor | None = None

    @staticmethod
    def of(
        projection: Projection, targets: Tensor, rows: int | None = None, rank_tolerance: float | None = None
    ) -> "Spectrum":
        """The spectrum of the matrix of a projection, for weighted targets Y (m, k).

        Args:
            projection: of the matrix, with whatever lam.
            targets: Y.
            rows: how many count, those of weight zero being no data; None for all of them.
            rank_tolerance: singular values at or below this times the largest count as zero; None for rounding level.
        """
        Q, R, Y = projection.orthonormal.double(), projection.triangle, targets.double()
        rounding = default_rank_tolerance(Q.shape[0], R.shape[1], 1.0, targets.dtype)
        tolerance = rounding if rank_tolerance is None else rank_tolerance
        U, s, Vh = torch.linalg.svd(R, full_matrices=False)
        inside = Q.T @ Y
        rest = torch.addmm(Y, Q, inside, alpha=-1.0)
        again = Q.T @ rest  # one pass leaves eps ||Y|| inside the span, which counts where the fit is that good
        rest = torch.addmm(rest, Q, again, alpha=-1.0)
        Z, largest = U.T @ (inside + again), float(s[0])
        rank = int((s > tolerance * largest).sum())
        outside = float(torch.sum(rest**2) + torch.sum(Z[rank:] ** 2))
        noise, left = rounding * largest, (Q, U[:, :rank])
        count = Q.shape[0] if rows is None else rows
        return Spectrum(s[:rank], Z[:rank], outside, count, noise * noise, left, Vh[:rank].T)

    @property
    def outputs(self) -> int:
        """Number of outputs k."""
        return self.coordinates.shape[1]

    @property
    def largest(self) -> float:
        """Largest singular value, 0 for a zero matrix."""
        return float(self.singular_values[0]) if self.singular_values.numel() else 0.0

    @cached_property
    def squares(self) -> Tensor:
        """||Z_i||^2 over the outputs, (p,)."""
        return torch.sum(self.coordinates**2, dim=1)

    @cached_property
    def basis(self) -> Tensor:
        """U, (m, p)."""
        if self.left is None:
            raise ValueError("the rows of this matrix were not kept")
        return self.left[0] @ self.left[1]

    def filters(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Filters f and 1 - f = lam / (s^2 + lam) for each lam, (lams, p) each, neither by a difference."""
        s, roots = self.singular_values, torch.sqrt(lams)[:, None]  # ratios, as the squares of s may overflow
        return 1.0 / (1.0 + (roots / s) ** 2), 1.0 / (1.0 + (s / roots) ** 2)

    def misfit(self, lams: Tensor) -> Tensor:
        """||A C - Y||^2 for each lam."""
        return self.outside + self.filters(lams)[1] ** 2 @ self.squares

    def freedom(self, lams: Tensor) -> Tensor:
        """Degrees of freedom m - tr P_lam that are left over in each output."""
        return (self.rows - self.singular_values.numel()) + self.filters(lams)[1].sum(1)

    def lams(self, count_a_decade: int = 8, decades: float = 0.0) -> Tensor:
        """Candidates, evenly spaced in their logarithm, from `floor` to 100 s_1^2 and `decades` further both ways."""
        low = (math.log10(self.floor) if self.floor > 0.0 else -math.inf) - decades
        high = 2.0 * math.log10(self.largest) + 2.0 + decades
        low, high = (min(max(end, -DECADES), DECADES) for end in (low, high))
        count = 1 + math.ceil(count_a_decade * (high - low))
        return torch.logspace(low, high, count, dtype=torch.float64, device=self.coordinates.device)

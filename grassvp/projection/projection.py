"""Regularised linear least squares min_C ||A C - Y||^2 + lam ||C||^2 as a value object.

One tall factorisation A = Q_A R_A is all that touches the m rows. What is left is an n x n problem for R_A, solved by
  - a QR of [R_A; sqrt(lam) I] (at lam = 0, R_A itself) where R_A has full numerical rank, and
  - an SVD of R_A where it has not: singular values at or below the tolerance count as zero, so that the coefficients
    are those of minimum norm and rounding noise is not amplified.
Full rank is certified without an SVD, from sigma_min(R) >= 1 / ||R^-1||_F and sigma_max(R) <= ||R||_F.
The normal equations are never formed: they square the condition number.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grassvp.errors import NonFiniteError

__all__ = ["Projection", "default_rank_tolerance", "project"]


@dataclass(frozen=True)
class Projection:
    """Solution of min_C ||A C - Y||^2 + lam ||C||^2 with the factors that derivatives need.

    The augmented matrix A_lam = [A; sqrt(lam) I] (A alone at lam = 0) has the orthonormal basis Q = [basis; tail] and the
    pseudo-inverse A_lam^+ = pseudo_factor^T Q^T. p is n, or the rank at lam = 0.

    Attributes:
        basis: (m, p) upper block of Q.
        tail: (n, p) lower block of Q, None at lam = 0.
        pseudo_factor: (p, n) matrix L = R^-T, always float64.
        coefficients: (n, k) minimiser C, of minimum norm where it is not unique.
        residual: (m, k) Y - A C, computed as (I - Q Q^T) Y and projected twice.
        residual_tail: (n, k) -sqrt(lam) C, None at lam = 0.
        rank: numerical rank of A.
        regularization: lam.
    """

    basis: Tensor
    tail: Tensor | None
    pseudo_factor: Tensor
    coefficients: Tensor
    residual: Tensor
    residual_tail: Tensor | None
    rank: int
    regularization: float
    triangle: Tensor

    @property
    def value(self) -> float:
        """1/2 ||Y - A C||^2 + lam/2 ||C||^2."""
        return 0.5 * float(sum(torch.sum(part.double() ** 2) for part in self.residual_parts))

    @property
    def residual_parts(self) -> list[Tensor]:
        """The blocks of the augmented residual, without copying them into one."""
        return [self.residual] if self.residual_tail is None else [self.residual, self.residual_tail]

    @property
    def full_basis(self) -> Tensor:
        """Q = [basis; tail], (m + n, p) or (m, p)."""
        return self.basis if self.tail is None else torch.cat([self.basis, self.tail])

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of A, descending, (min(m, n),)."""
        return torch.linalg.svdvals(self.triangle)

    @property
    def condition(self) -> float:
        """Condition number of A_lam, over the singular values that were kept."""
        s, p = self.singular_values, self.basis.shape[1]
        if p == 0:
            return math.inf
        smallest = s[p - 1] if p <= s.numel() else s.new_zeros(())
        return float(torch.sqrt((s[0] ** 2 + self.regularization) / (smallest**2 + self.regularization)))

    def outside(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """(I - Q Q^T)[data; 0] in its upper rows, and the coordinates Q^T [data; 0] in the basis, (p, ...)."""
        inside = self.basis.T @ data
        return data - self.basis @ inside, inside


def default_rank_tolerance(m: int, n: int, regularization: float, dtype: torch.dtype) -> float:
    """Relative level below which a singular value counts as zero.

    At lam = 0 it is 1e-10: below that the coefficients grow until the value they give cannot be reproduced from them
    (float32: max(m, n) eps). At lam > 0 the ridge bounds the coefficients and only rounding noise is cut, max(m, n) eps.
    """
    noise = max(m, n) * torch.finfo(dtype).eps
    return max(1e-10, noise) if regularization == 0.0 else noise


def project(
    matrix: Tensor, targets: Tensor, regularization: float = 0.0, rank_tolerance: float | None = None
) -> Projection:
    """Solve min_C ||A C - Y||^2 + lam ||C||^2 by orthogonal factorisation.

    Args:
        matrix: A, (m, n), any rank, m < n allowed; rows already weighted.
        targets: Y, (m, k).
        regularization: lam >= 0.
        rank_tolerance: singular values at or below this times the largest count as zero; see `default_rank_tolerance`.

    Raises:
        NonFiniteError: A has NaN or infinite entries.
    """
    m, n = matrix.shape
    if rank_tolerance is None:
        rank_tolerance = default_rank_tolerance(m, n, regularization, matrix.dtype)
    Q, R = torch.linalg.qr(matrix)
    triangle = R.double()
    if not bool(torch.isfinite(triangle).all()):
        raise NonFiniteError(f"the {m} x {n} feature matrix has NaN or infinite entries, or its norm overflows")
    inner, tail, factor, rank = _small_factors(triangle, regularization, rank_tolerance)
    basis = Q if inner is None else Q @ inner.to(Q.dtype)
    return _solve(basis, tail, factor, rank, targets, regularization, triangle)


def _small_factors(R: Tensor, lam: float, tolerance: float) -> tuple[Tensor | None, Tensor | None, Tensor, int]:
    """Factors of [R; sqrt(lam) I]: (upper block K of its basis or None for I, lower block, L = pseudo-inverse factor, rank)."""
    n = R.shape[1]
    identity = torch.eye(n, dtype=R.dtype, device=R.device)
    inverse = _inverse_if_full_rank(R, tolerance, identity)
    if inverse is None:
        return _svd_factors(R, lam, tolerance)
    if lam == 0.0:
        return None, None, inverse.T, n
    K, S = torch.linalg.qr(torch.cat([R, math.sqrt(lam) * identity]))
    factor = torch.linalg.solve_triangular(S.T, identity, upper=False)
    return K[:n], K[n:], factor, n


def _inverse_if_full_rank(R: Tensor, tolerance: float, identity: Tensor) -> Tensor | None:
    """R^-1 where the Frobenius bounds prove sigma_min > tolerance * sigma_max, otherwise None."""
    if R.shape[0] < R.shape[1] or bool((torch.diagonal(R) == 0).any()):
        return None
    inverse = torch.linalg.solve_triangular(R, identity, upper=True)
    certified = 1.0 > tolerance * float(torch.linalg.matrix_norm(R)) * float(torch.linalg.matrix_norm(inverse))
    return inverse if certified else None  # a NaN product certifies nothing


def _svd_factors(R: Tensor, lam: float, tolerance: float) -> tuple[Tensor, Tensor | None, Tensor, int]:
    U, s, Vh = torch.linalg.svd(R, full_matrices=lam > 0.0)
    rank = int((s > tolerance * s[0]).sum())
    if lam == 0.0:
        return U[:, :rank], None, Vh[:rank] / s[:rank, None], rank
    # At lam > 0 the directions that were cut stay in the augmented basis: there A is zero and sqrt(lam) I is not.
    kept = s.new_zeros(R.shape[1])
    kept[:rank] = s[:rank]
    norms = torch.sqrt(kept**2 + lam)
    K = R.new_zeros(R.shape)
    K[:, :rank] = U[:, :rank] * (kept[:rank] / norms[:rank])
    return K, Vh.T * (math.sqrt(lam) / norms), Vh / norms[:, None], rank


def _solve(
    basis: Tensor, tail: Tensor | None, factor: Tensor, rank: int, targets: Tensor, lam: float, triangle: Tensor
) -> Projection:
    lower = None if tail is None else tail.to(basis.dtype)
    inside = basis.T @ targets
    residual = targets - basis @ inside
    residual_tail = None if lower is None else -(lower @ inside)
    # Projected twice: one pass leaves a part inside the span of eps ||Y||, which the coefficients would amplify.
    again = basis.T @ residual
    if lower is not None:
        again = again + lower.T @ residual_tail
        residual_tail = residual_tail - lower @ again
    residual = residual - basis @ again
    coefficients = factor.T @ (inside + again).double()
    if not bool(torch.isfinite(coefficients).all()):
        raise NonFiniteError("the coefficients overflow: scale the targets, or use regularization > 0")
    return Projection(
        basis,
        lower,
        factor,
        coefficients.to(targets.dtype),
        residual,
        residual_tail,
        rank,
        lam,
        triangle,
    )

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
from grassvp.projection.restriction import Restriction, output_wise

__all__ = ["Projection", "default_rank_tolerance", "project"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Solution of min_C ||A C - Y||^2 + lam ||C||^2 with the factors that derivatives need.

    The augmented matrix A_lam = [A; sqrt(lam) I] (A alone at lam = 0) has the orthonormal basis Q = [basis; tail] and
    the pseudo-inverse A_lam^+ = pseudo_factor^T Q^T. p is n, or the rank at lam = 0.

    Attributes:
        orthonormal: (m, min(m, n)) basis of the columns of A, before rank and lam are seen to.
        inner: (min(m, n), p) what takes it to the upper block of Q; None for the identity.
        tail: (n, p) lower block of Q, None at lam = 0.
        pseudo_factor: (p, n) matrix L = R^-T, always float64.
        coefficients: (n, k) minimiser C, of minimum norm where it is not unique.
        residual: (m, k) Y - A C, computed as (I - Q Q^T) Y and projected twice.
        residual_tail: (n, k) -sqrt(lam) C, None at lam = 0.
        rank: numerical rank of A.
        regularization: lam.
        triangle: R_A, whose singular values are those of A.
        restriction: what bounds on C leave of the subspace, or None without bounds.
        rank_tolerance: relative level at or below which singular values of A, or of A D^-1, counted as zero.
        column_scale: D, (n,), where the rank was judged after scaling the columns, or None.
    """

    orthonormal: Tensor
    inner: Tensor | None
    tail: Tensor | None
    pseudo_factor: Tensor
    coefficients: Tensor
    residual: Tensor
    residual_tail: Tensor | None
    rank: int
    regularization: float
    triangle: Tensor
    restriction: Restriction | None = None
    rank_tolerance: float = 0.0
    column_scale: Tensor | None = None

    @property
    def value(self) -> float:
        """1/2 ||Y - A C||^2 + lam/2 ||C||^2."""
        return 0.5 * float(sum(torch.sum(part.double() ** 2) for part in self.residual_parts))

    @property
    def residual_parts(self) -> list[Tensor]:
        """The blocks of the augmented residual, without copying them into one."""
        return [self.residual] if self.residual_tail is None else [self.residual, self.residual_tail]

    @cached_property
    def basis(self) -> Tensor:
        """(m, p) upper block of Q; formed when first asked for, as `inside` and `outward` do without.

        Stored column by column, as LAPACK leaves the orthonormal factor: products of two bases are faster so.
        """
        return self.orthonormal if self.inner is None else (self.inner.T @ self.orthonormal.T).T

    def inside(self, upper: Tensor) -> Tensor:
        """The upper block of Q, transposed, times U, (p, ...), for U = `upper` (m, ...)."""
        return self.inward(self.orthonormal.T @ upper.flatten(1)).view(-1, *upper.shape[1:])

    def inward(self, coordinates: Tensor) -> Tensor:
        """Coordinates (min(m, n), ...) in `orthonormal` as coordinates in the upper block of Q, (p, ...)."""
        return coordinates if self.inner is None else self.inner.T @ coordinates

    def outward(self, coordinates: Tensor) -> Tensor:
        """The other way, (min(m, n), ...) for (p, ...): Q N is `orthonormal` times what this makes of N."""
        return coordinates if self.inner is None else self.inner @ coordinates

    def combined(self, coordinates: Tensor) -> Tensor:
        """The upper block of Q N, (m, k), for N = `coordinates` (p, k)."""
        return self.orthonormal @ self.outward(coordinates)

    def cosines(self, other: "Projection") -> Tensor:
        """Q^T Q', (p, p'): the cosines of the principal angles to another projection's Q are its singular values."""
        upper = self.inward(other.inward((self.orthonormal.T @ other.orthonormal).T).T)
        return upper if self.tail is None or other.tail is None else upper + self.tail.T @ other.tail

    @property
    def full_basis(self) -> Tensor:
        """Q = [basis; tail], (m + n, p) or (m, p)."""
        return self.basis if self.tail is None else torch.cat([self.basis.T, self.tail.T], dim=1).T

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of A, descending, (min(m, n),)."""
        return torch.linalg.svdvals(self.triangle)

    @property
    def null_space(self) -> Tensor:
        """Orthonormal coefficients that A makes nothing of at its rank, (n, n - rank)."""
        return torch.linalg.svd(self.triangle).Vh[self.rank :].T

    @property
    def condition(self) -> float:
        """Condition number of A_lam, over the singular values that were kept."""
        s, p = self.singular_values, self.pseudo_factor.shape[-2]
        if p == 0:
            return math.inf
        smallest = s[p - 1] if p <= s.numel() else s.new_zeros(())
        ridge = s.new_tensor(math.sqrt(self.regularization))
        return float(torch.hypot(s[0], ridge) / torch.hypot(smallest, ridge))

    @property
    def freedom(self) -> float:
        """Effective degrees of freedom tr P_lam = ||upper block of Q||_F^2 that the fit takes; its rank at lam = 0."""
        return float(self.pseudo_factor.shape[0] if self.inner is None else torch.sum(self.inner.double() ** 2))

    def coordinates(self, upper: Tensor, lower: Tensor | None = None) -> Tensor:
        """Q^T [upper; lower], (p, k, ...), for (m, k, ...) and (n, k, ...); of what bounds on C leave of Q, if any."""
        inside = self.inside(upper.flatten(1))
        if lower is not None and self.tail is not None:
            inside = inside + self.tail.T @ lower.reshape(lower.shape[0], -1)
        inside = inside.view(-1, *upper.shape[1:])
        return inside if self.restriction is None else self.restriction.project(inside)

    def dual_coordinates(self, adjoint: Tensor) -> Tensor:
        """L T, (p, k, ...), float64, for T = `adjoint` (n, k, ...)."""
        if self.restriction is None:
            return (self.pseudo_factor @ adjoint.reshape(adjoint.shape[0], -1).double()).view(-1, *adjoint.shape[1:])
        return output_wise(self.restriction.factors, adjoint.double())

    def dual_combination(self, coordinates: Tensor) -> Tensor:
        """L^T N, (n, k), float64, for N = `coordinates` (p, k)."""
        if self.restriction is None:
            return self.pseudo_factor.T @ coordinates.double()
        return output_wise(self.restriction.factors.mT, coordinates.double())


def default_rank_tolerance(m: int, n: int, regularization: float, dtype: torch.dtype) -> float:
    """Relative level below which a singular value counts as zero.

    At lam = 0 it is 1e-10 (float32: max(m, n) eps): below that the coefficients grow until the value they give cannot
    be reproduced from them. At lam > 0 the ridge bounds the coefficients and only rounding noise is cut, max(m, n) eps.
    """
    noise = max(m, n) * torch.finfo(dtype).eps
    return max(1e-10, noise) if regularization == 0.0 else noise


def project(
    matrix: Tensor,
    targets: Tensor,
    regularization: float = 0.0,
    rank_tolerance: float | None = None,
    *,
    column_scaling: bool = False,
) -> Projection:
    """Solve min_C ||A C - Y||^2 + lam ||C||^2 by orthogonal factorisation.

    Args:
        matrix: A, (m, n), any rank, m < n allowed; rows already weighted.
        targets: Y, (m, k).
        regularization: lam >= 0.
        rank_tolerance: singular values at or below this times the largest count as zero; see `default_rank_tolerance`.
        column_scaling: judge the rank of A D^-1, D the norms of the columns of A, so that a feature that is small but
            independent counts; where the minimiser is not unique, ||D C|| is least instead of ||C||.

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
    scale = _column_norms(triangle) if column_scaling else None
    inner, tail, factor, rank = _small_factors(triangle, regularization, rank_tolerance, scale)
    kept = None if inner is None else inner.to(Q.dtype)
    lower = None if tail is None else tail.to(Q.dtype)
    residual, residual_tail, inside = _residual(Q, kept, lower, targets)
    coefficients = factor.T @ inside.double()
    if not bool(torch.isfinite(coefficients).all()):
        raise NonFiniteError("the coefficients overflow: scale the targets, or use regularization > 0")
    return Projection(
        orthonormal=Q,
        inner=kept,
        tail=lower,
        pseudo_factor=factor,
        coefficients=coefficients.to(targets.dtype),
        residual=residual,
        residual_tail=residual_tail,
        rank=rank,
        regularization=regularization,
        triangle=triangle,
        rank_tolerance=rank_tolerance,
        column_scale=scale,
    )


def _column_norms(R: Tensor) -> Tensor:
    """Column norms as powers of two, so that scaling by them is exact; 1 for zero columns."""
    norms = torch.linalg.vector_norm(R, dim=0)
    return torch.where(norms > 0, torch.exp2(torch.round(torch.log2(norms))), 1.0)


def _small_factors(
    R: Tensor, lam: float, tolerance: float, scale: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor, int]:
    """Factors of [R; sqrt(lam) I]: upper block K of its basis (None for I), lower block, L = R^-T, and the rank."""
    n = R.shape[1]
    identity = torch.eye(n, dtype=R.dtype, device=R.device)
    if _has_full_rank(R if scale is None else R / scale, tolerance, identity):
        if lam == 0.0:
            return None, None, torch.linalg.solve_triangular(R.T, identity, upper=False), n
        K, S = torch.linalg.qr(torch.cat([R, math.sqrt(lam) * identity]))
        return K[:n], K[n:], torch.linalg.solve_triangular(S.T, identity, upper=False), n
    return _svd_factors(R, lam, tolerance) if scale is None else _scaled_svd_factors(R, lam, tolerance, scale)


def _has_full_rank(R: Tensor, tolerance: float, identity: Tensor) -> bool:
    """Whether the Frobenius bounds prove sigma_min > tolerance * sigma_max; if not, only an SVD can tell."""
    if R.shape[0] < R.shape[1] or bool((torch.diagonal(R) == 0).any()):
        return False
    inverse = torch.linalg.solve_triangular(R, identity, upper=True)
    product = float(torch.linalg.matrix_norm(R)) * float(torch.linalg.matrix_norm(inverse))
    return product * tolerance < 1.0  # a NaN product proves nothing


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


def _scaled_svd_factors(
    R: Tensor, lam: float, tolerance: float, scale: Tensor
) -> tuple[Tensor, Tensor | None, Tensor, int]:
    """As `_svd_factors`, for the unknown D C: R D^-1 is cut, and the ridge becomes sqrt(lam) D^-1."""
    U, s, Vh = torch.linalg.svd(R / scale, full_matrices=False)
    rank = int((s > tolerance * s[0]).sum())
    if lam == 0.0:
        return U[:, :rank], None, Vh[:rank] / s[:rank, None] / scale, rank
    K, S = torch.linalg.qr(torch.cat([s[:rank, None] * Vh[:rank], math.sqrt(lam) * torch.diag(1.0 / scale)]))
    factor = torch.linalg.solve_triangular(S.T, torch.diag(1.0 / scale), upper=False)
    return U[:, :rank] @ K[:rank], K[rank:], factor, rank


def _residual(
    Q: Tensor, inner: Tensor | None, tail: Tensor | None, targets: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """(I - B B^T) [Y; 0] for B = [Q inner; tail], in its two blocks, and the coordinates B^T [Y; 0].

    Projected twice: one pass leaves a part inside the span of eps ||Y||, which the coefficients would amplify.
    """
    upper, lower = targets, None
    total: Tensor | None = None
    for _ in range(2):
        inside = Q.T @ upper
        inside = inside if inner is None else inner.T @ inside
        if tail is not None and lower is not None:
            inside = inside + tail.T @ lower
        upper = torch.addmm(upper, Q, inside if inner is None else inner @ inside, alpha=-1.0)
        if tail is not None:
            lower = -(tail @ inside) if lower is None else lower - tail @ inside
        total = inside if total is None else total + inside
    return upper, lower, total  # pyright: ignore[reportReturnType]

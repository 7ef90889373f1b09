"""Least squares over rows that come batch by batch, as a triangle that is updated and never as a matrix that is kept.

With A_b (m_b, n) and Y_b (m_b, k) the weighted rows of batch b, all rows so far leave R (n, n) and Z = Q^T Y (n, k):
    [sqrt(gamma) R   sqrt(gamma) Z]      [R'  Z']
    [         A_b              Y_b] = Q' [0   S ],
one orthogonal factorisation of n + m_b rows, so that the condition number is never squared; ||S||^2 joins gamma times
the squares that no C explains. At gamma = 1 the rows may be split in any way and come in any order: R^T R, and with it
the solution for every lam, is that of the whole matrix. At gamma < 1 batch b counts gamma^age, as in recursive least
squares with exponential forgetting.

The regularisation is chosen by generalised cross-validation from one SVD of R, on all rows or sampled on the latest:
    sGCV(lam) = m_b ||A_b C(lam) - Y_b||^2 / (m_b - tr A_b (R^T R + lam I)^-1 A_b^T)^2.

Sources: G. Golub, C. Van Loan, Matrix Computations, 6.5 (updates); S. Haykin, Adaptive Filter Theory (recursive least
squares by QR); J. Chung, M. Chung, J. T. Slagel, L. Tenorio, arXiv:1812.06165 (sampled Tikhonov), and E. Newman,
J. Chung, M. Chung, L. Ruthotto, slimTrain, arXiv:2109.14002, for the sampled cross-validation. They keep the last few
batches; keeping the triangle of all of them is ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.projection.criteria import generalized
from grassvp.projection.projection import Projection, default_rank_tolerance, project

__all__ = ["Absorption", "Rotation", "StreamingProjection"]

GRID = 33  # values of lam that a score is taken at, once over the whole range and twice around the lowest


@dataclass(frozen=True, eq=False)
class Rotation:
    """Q' of [T; A] = Q' [R; 0] as Householder reflectors, so that more columns can be rotated later on.

    Attributes:
        reflectors: (n + m, n) what LAPACK's geqrf leaves.
        scales: (n,) its scalar factors.
    """

    reflectors: Tensor
    scales: Tensor

    @staticmethod
    def of(upper: Tensor, lower: Tensor) -> "Rotation":
        """The factorisation of `upper` (n, n) on top of `lower` (m, n)."""
        return Rotation(*torch.geqrf(torch.cat([upper, lower])))

    @property
    def triangle(self) -> Tensor:
        """R, (n, n)."""
        n = self.reflectors.shape[1]
        return torch.triu(self.reflectors[:n])

    def apply(self, upper: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
        """Q'^T [upper; lower] in its first n rows and its last m."""
        n = self.reflectors.shape[1]
        turned = torch.ormqr(self.reflectors, self.scales, torch.cat([upper, lower]), left=True, transpose=True)
        return turned[:n], turned[n:]


@dataclass(frozen=True, eq=False)
class StreamingProjection:
    """What is left of the rows of min_C ||A C - Y||^2 + lam ||C||^2 that were seen: enough to solve it for any lam.

    Immutable; build one with `empty` and go on with `updated`. Always float64.

    Attributes:
        triangle: R, (n, n) upper triangle with R^T R = sum of gamma^age A_b^T A_b.
        projected: Z, (n, k) with R^T Z = sum of gamma^age A_b^T Y_b.
        residual_square: the part of ||Y||^2 outside of the span of full column rank, forgotten likewise.
        rows: rows that the sums stand for, sum of gamma^age m_b; the number of rows at gamma = 1.
        count: rows that were seen.
        dtype: coarsest floating type of the features so far, whose rounding decides the numerical rank.
    """

    triangle: Tensor
    projected: Tensor
    residual_square: float = 0.0
    rows: float = 0.0
    count: int = 0
    dtype: torch.dtype = torch.float64

    @staticmethod
    def empty(width: int, outputs: int, *, device: Any = None) -> "StreamingProjection":
        """No rows yet, for n = `width` features and k = `outputs`."""
        n, k = check_count(width, "width"), check_count(outputs, "outputs")
        zeros = torch.zeros(n, n + k, dtype=torch.float64, device=device)
        return StreamingProjection(zeros[:, :n], zeros[:, n:])

    def updated(self, values: Tensor, targets: Tensor, *, forgetting: float = 1.0) -> "StreamingProjection":
        """The projection of the rows so far, each counting `forgetting` times what it did, and of further rows.

        Args:
            values: A_b, (m_b, n), already weighted; float32 is accumulated in float64.
            targets: Y_b, (m_b, k), already weighted.
            forgetting: gamma, 0 <= gamma <= 1.

        Raises:
            ArgumentError, ArgumentTypeError: a shape or a type does not fit, or `forgetting` is out of range.
            NonFiniteError: there are NaN or infinite entries, or the targets overflow squared.
        """
        return self.absorbed(values, targets, forgetting=forgetting).projection

    def absorbed(self, values: Tensor, targets: Tensor, *, forgetting: float = 1.0) -> "Absorption":
        """`updated`, with the rotation that did it and what it left of the new targets."""
        m, decay = self._check_rows(values, targets), math.sqrt(_check_forgetting(forgetting))
        rotation = Rotation.of(decay * self.triangle, values.double())
        Z, rest = rotation.apply(decay * self.projected, targets.double())
        R = rotation.triangle
        square = forgetting * self.residual_square + float(torch.sum(rest**2))
        if not (math.isfinite(square) and bool(torch.isfinite(R).all() and torch.isfinite(Z).all())):
            raise NonFiniteError(
                f"the {m} x {values.shape[1]} feature rows or their targets are NaN or infinite, or overflow squared"
            )
        dtype = values.dtype if torch.finfo(values.dtype).eps > torch.finfo(self.dtype).eps else self.dtype
        after = StreamingProjection(R, Z, square, forgetting * self.rows + m, self.count + m, dtype)
        return Absorption(after, rotation, rest, decay)

    def with_targets(self, projected: Tensor) -> "StreamingProjection":
        """The same features with other projected targets Z."""
        return StreamingProjection(self.triangle, projected, self.residual_square, self.rows, self.count, self.dtype)

    def projection(self, regularization: float) -> Projection:
        """The solution with lam as a `Projection` of R and Z, a matrix with the singular values of all rows."""
        lam = check_nonnegative(regularization, "regularization")
        return project(self.triangle, self.projected, lam, self._rank_tolerance(lam))

    def coefficients(self, regularization: float) -> Tensor:
        """C, (n, k): the minimiser for lam, of minimum norm where it is not unique."""
        return self.projection(regularization).coefficients

    def value(self, regularization: float) -> float:
        """1/2 ||A C - Y||^2 + lam/2 ||C||^2."""
        return self.projection(regularization).value + 0.5 * self.residual_square

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of the rows so far, descending, (n,)."""
        return torch.linalg.svdvals(self.triangle)

    def gcv(self, regularization: float) -> float:
        """GCV(lam) = m ||A C - Y||^2 / (m - tr A (A^T A + lam I)^-1 A^T)^2 over all rows; infinite for few rows."""
        lam = check_nonnegative(regularization, "regularization")
        return float(self._scores(self.triangle.new_tensor([lam]))[0])

    def gcv_regularization(self) -> float:
        """The lam that minimises `gcv`."""
        return self._least(self._scores)

    def sampled_gcv(self, values: Tensor, targets: Tensor, regularization: float) -> float:
        """SGCV(lam) on some rows, (m_b, n) and (m_b, k): the latest ones, which are part of the sums already."""
        lam = check_nonnegative(regularization, "regularization")
        return float(self._sampled(values, targets)(self.triangle.new_tensor([lam]))[0])

    def sampled_regularization(self, values: Tensor, targets: Tensor) -> float:
        """The lam that minimises `sampled_gcv`."""
        return self._least(self._sampled(values, targets))

    def _check_rows(self, values: Tensor, targets: Tensor) -> int:
        n, k = self.projected.shape
        if values.ndim != 2 or values.shape[1] != n or values.shape[0] == 0:
            raise ArgumentError(f"values must have shape (rows, {n}) with at least one row, got {tuple(values.shape)}")
        if targets.shape != (values.shape[0], k):
            raise ArgumentError(f"targets must have shape ({values.shape[0]}, {k}), got {tuple(targets.shape)}")
        if not values.is_floating_point():
            raise ArgumentTypeError(f"values must be floating-point numbers, got {values.dtype}")
        return values.shape[0]

    def _rank_tolerance(self, lam: float) -> float:
        """The level of rounding: n eps of the features, plus what the updates add, like the root of the rows."""
        n, eps = self.triangle.shape[1], torch.finfo(self.dtype).eps
        added = math.sqrt(self.rows) * torch.finfo(torch.float64).eps
        return default_rank_tolerance(n + math.ceil(added / eps), n, lam, self.dtype)

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """(U^T Z, s, V) of R = U diag(s) V^T, with zeros for the singular values that are rounding."""
        U, s, Vh = torch.linalg.svd(self.triangle)
        return U.T @ self.projected, torch.where(s > self._rank_tolerance(1.0) * s[0], s, 0.0), Vh.T

    def _filters(self, lams: Tensor) -> Tensor:
        """s^2 / (s^2 + lam) for each lam, (lams, n); at lam = 0 one for what counts in the rank, else zero."""
        s = self._spectrum[1]
        s = torch.where((lams[:, None] > 0) | (s > self._rank_tolerance(0.0) * s[0]), s, 0.0)
        return torch.where(s > 0, s**2 / (s**2 + lams[:, None]), 0.0)

    def _scores(self, lams: Tensor) -> Tensor:
        """`gcv` for each lam."""
        f = self._filters(lams)
        misfit = self.residual_square + (1.0 - f) ** 2 @ torch.sum(self._spectrum[0] ** 2, dim=1)
        return generalized(self.rows, misfit, self.rows - f.sum(1))

    def _sampled(self, values: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """`sampled_gcv` as a function of many lam."""
        m, (z, s, V) = self._check_rows(values, targets), self._spectrum
        inverse = torch.where(s > 0, 1.0 / s, 0.0)
        B, Y = (values.double() @ V) * inverse, targets.double()  # rows of the basis U of the accumulated span
        weight = torch.sum(B**2, dim=0)

        def scores(lams: Tensor) -> Tensor:
            filters = self._filters(lams)
            misfit = torch.stack([torch.sum((B @ (f[:, None] * z) - Y) ** 2) for f in filters])
            return generalized(m, misfit, m - filters @ weight)

        return scores

    def _least(self, scores: Callable[[Tensor], Tensor]) -> float:
        """The lam of lowest score between the square of what counts as zero at lam = 0 and the largest s^2."""
        largest = float(self._spectrum[1][0])
        if largest == 0.0:
            return 1.0  # C = 0 whatever lam is
        low, high = 2.0 * math.log(self._rank_tolerance(0.0) * largest), 2.0 * math.log(largest)
        for _ in range(3):
            lams = torch.linspace(low, high, GRID, dtype=torch.float64).exp().to(self.triangle.device)
            best, width = int(torch.argmin(scores(lams))), (high - low) / (GRID - 1)
            center = low + best * width
            low, high = max(low, center - width), min(high, center + width)
        return math.exp(center)  # pyright: ignore[reportPossiblyUnbound]

    def __repr__(self) -> str:
        """Sizes at a glance."""
        n, k = self.projected.shape
        return f"StreamingProjection({self.count} rows seen, counting as {self.rows:g}, {n} features, {k} outputs)"


@dataclass(frozen=True, eq=False)
class Absorption:
    """One update of a `StreamingProjection` and how it was done.

    Attributes:
        projection: the projection after it.
        rotation: Q', which columns other than the targets can be rotated by.
        remainder: S, (m_b, k) what the update leaves of the new targets.
        decay: sqrt(gamma).
    """

    projection: StreamingProjection
    rotation: Rotation
    remainder: Tensor
    decay: float


def _check_forgetting(value: float) -> float:
    gamma = check_nonnegative(value, "forgetting")
    if gamma > 1:
        raise ArgumentError(f"forgetting must be between 0 and 1, got {gamma:g}")
    return gamma

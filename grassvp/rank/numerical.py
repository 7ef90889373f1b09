"""Numerical rank as a decision with its evidence: the level, the gap around it, and how near the level cuts.

Singular values are known to eps times the largest, so that a matrix has a rank only beside a level below which they
count as zero. Where the level lies in a wide gap every sensible level gives the same rank. Where none is given the
usual one is taken, and moved to the nearest wide gap if singular values crowd about it.

Source: G. Golub, V. Klema, G. W. Stewart, Rank degeneracy and least squares problems, 1976.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.projection import default_rank_tolerance
from grassvp.rank.arguments import check_level

__all__ = ["CERTAIN_GAP", "NumericalRank", "column_scales", "judge", "matrix_rank", "numerical_rank"]

CERTAIN_GAP = 10.0
CROWDED = math.sqrt(CERTAIN_GAP)  # a singular value within this factor of the level makes it a matter of luck
REACH = 1e3  # how far a level that was not given may move to reach a gap


@dataclass(frozen=True, eq=False)
class NumericalRank:
    """How many singular values count, and how clear that is.

    Attributes:
        rank: number of singular values above `tolerance` times the largest.
        tolerance: the level, relative to the largest singular value.
        gap: last singular value that counts over the first that does not; inf where that is zero, or all or none count.
        singular_values: descending, those that were judged.
    """

    rank: int
    tolerance: float
    gap: float
    singular_values: np.ndarray = field(repr=False)

    @property
    def certain(self) -> bool:
        """Whether the gap is at least 10, so that levels about this one give the same rank."""
        return self.gap >= CERTAIN_GAP

    @property
    def deficient(self) -> bool:
        """Whether some singular value does not count."""
        return self.rank < self.singular_values.size

    @property
    def level(self) -> float:
        """The level in the units of the singular values."""
        return self.tolerance * float(self.singular_values[0])

    @property
    def margin(self) -> float:
        """Factor by which the level can change, either way, before the rank does; inf where no level changes it."""
        s, level = self.singular_values, self.level
        above = _ratio(float(s[self.rank - 1]), level) if self.rank else math.inf
        below = _ratio(level, float(s[self.rank])) if self.deficient else math.inf
        return min(above, below)

    def __repr__(self) -> str:
        """The decision and its evidence at a glance."""
        sure = "certain" if self.certain else "not certain"
        counts = f"{self.rank} of {self.singular_values.size} at {self.tolerance:.1e}"
        return f"NumericalRank({counts}, gap {self.gap:.3g}, {sure})"


def numerical_rank(singular_values: Any, tolerance: float | None = None) -> NumericalRank:
    """The rank that singular values say, rank = #{s_i > tolerance * s_max}.

    Args:
        singular_values: (p,), in any order.
        tolerance: relative level. None: 1e-10, the level at which least-squares coefficients are cut (in float32
            rounding level), unless a singular value lies within half a decade of it: then the nearest gap of a factor
            of 10 within three decades decides, and the level is put into its middle.

    Raises:
        ArgumentError, ArgumentTypeError: naming what is not a vector of finite numbers >= 0, or a tolerance outside
            [0, 1).
    """
    s = to_tensor(singular_values, "singular_values")
    if s.ndim != 1 or bool((s < 0).any()):
        raise ArgumentError(
            f"singular_values must be a vector of numbers >= 0, got shape {tuple(s.shape)}, least {float(s.min()):g}"
        )
    values = np.sort(s.double().cpu().numpy())[::-1].copy()
    if tolerance is not None:
        return judge(values, check_level(tolerance, "tolerance"))
    return _judged_by_gap(values, values.size, s.dtype)


def matrix_rank(matrix: Any, tolerance: float | None = None, *, column_scaling: bool = False) -> NumericalRank:
    """The numerical rank of a matrix (m, n), see `numerical_rank`.

    Args:
        matrix: numpy or torch.
        tolerance: relative level, or None.
        column_scaling: judge it with its columns brought to one size, so that columns in different units all count.
            Columns of zeros stay zero; a column of rounding noise would count.

    Raises:
        ArgumentError, ArgumentTypeError: naming what is not a finite matrix, or a tolerance outside [0, 1).
    """
    A = to_tensor(matrix, "matrix")
    if A.ndim != 2:
        raise ArgumentError(f"matrix must have shape (rows, columns), got {tuple(A.shape)}")
    if not isinstance(column_scaling, bool):
        raise ArgumentTypeError(f"column_scaling must be True or False, got {column_scaling!r}")
    level = None if tolerance is None else check_level(tolerance, "tolerance")
    dense = A.double().cpu().numpy()
    if column_scaling:
        dense = dense / column_scales(dense)
    s = np.linalg.svd(dense, compute_uv=False)
    return _judged_by_gap(s, max(A.shape), A.dtype) if level is None else judge(s, level)


def judge(s: np.ndarray, tolerance: float) -> NumericalRank:
    """The rank of descending singular values at a given level."""
    rank = int(np.sum(s > tolerance * s[0]))
    gap = _ratio(float(s[rank - 1]), float(s[rank])) if 0 < rank < s.size else math.inf
    return NumericalRank(rank, tolerance, gap, s)


def column_scales(matrix: np.ndarray) -> np.ndarray:
    """Column norms (n,) as powers of two, so that dividing by them is exact; 1 for columns of zeros."""
    largest = np.abs(matrix).max(axis=0, initial=0.0)
    safe = np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(matrix / safe, axis=0)  # the squares of what is below 1e-154 would vanish
    return np.where(largest > 0, np.exp2(np.round(np.log2(safe) + np.log2(np.maximum(norms, 1.0)))), 1.0)


def _judged_by_gap(s: np.ndarray, size: int, dtype: torch.dtype) -> NumericalRank:
    """The rank at the usual level, or in the nearest wide gap where singular values crowd about that level."""
    usual = judge(s, default_rank_tolerance(size, size, 0.0, dtype))
    if usual.margin >= CROWDED or s[0] == 0:
        return usual
    relative, noise = s / s[0], size * torch.finfo(dtype).eps
    upper, lower = relative[:-1], relative[1:]
    away = np.maximum(np.maximum(lower / usual.tolerance, usual.tolerance / np.maximum(upper, noise)), 1.0)
    wide = (upper >= CERTAIN_GAP * lower) & (upper > noise) & (away <= REACH)
    if not wide.any():
        return usual
    cut = int(np.argmin(np.where(wide, away, math.inf)))
    if cut + 1 == usual.rank:
        return usual
    return judge(s, float(upper[cut] * math.sqrt(max(lower[cut] / upper[cut], REACH**-2))))


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.inf

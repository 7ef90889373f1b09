"""Which columns repeat others, up to sign and scale, and which lie inside the span of others.

Columns are compared at length one, so that their own scale does not matter. One QR factorisation takes them to a small
triangle, in which lengths and angles are the same and where all that follows happens.
"""

from dataclasses import dataclass

import torch
from scipy.linalg import qr
from torch import Tensor

from manifolds.subspaces import project_out

__all__ = ["Dependent", "Duplicates", "dependent_columns", "duplicate_columns", "unit_columns", "unit_triangle"]

COSINE_ROUNDING = 1e-12


@dataclass(frozen=True)
class Duplicates:
    """Columns that are parallel to one of them.

    Attributes:
        kept: the longest of them, of equal ones the first.
        others: the rest, ascending.
        angle: the largest angle between one of the rest and the one that is kept.
    """

    kept: int
    others: tuple[int, ...]
    angle: float


@dataclass(frozen=True)
class Dependent:
    """A column that the others span.

    Attributes:
        column: which one.
        reason: "dead" (no length beside the longest), "constant" (a multiple of the constant) or "collinear".
        remainder: what is left of it: of its length, or for a dead one its length beside the longest.
    """

    column: int
    reason: str
    remainder: float


def duplicate_columns(columns: Tensor, tolerance: float, *, same_sign: bool = False) -> list[Duplicates]:
    """Disjoint sets of columns within an angle of the longest of them whose sine is at most `tolerance`; O(m n^2).

    Args:
        columns: (m, n), float64.
        tolerance: largest sine, below 1.
        same_sign: whether a column and a negative multiple of it count as different.
    """
    X, norms = unit_triangle(columns)
    cosines = X.T @ X
    near = (cosines if same_sign else cosines.abs()) >= 1.0 - tolerance**2 - COSINE_ROUNDING
    near.fill_diagonal_(False)
    free, found = norms > 0, []
    # Lengths in single precision: those that differ by rounding alone are equal, and the first of them is kept.
    order = torch.argsort(norms.float(), descending=True, stable=True)
    for leader in order[near.any(0)[order]].tolist():
        if not free[leader]:
            continue
        free[leader] = False
        others = torch.nonzero(near[leader] & free)[:, 0]
        # Half the chord is the sine of half the angle, which the cosine knows to half the digits only.
        half = torch.linalg.vector_norm(X[:, others] * cosines[leader, others].sign() - X[:, leader, None], dim=0) / 2
        sines = 2 * half * torch.sqrt((1 - half**2).clamp(min=0.0))
        inside = sines <= tolerance
        if bool(inside.any()):
            others = others[inside]
            free[others] = False
            found.append(Duplicates(leader, tuple(others.tolist()), float(torch.asin(sines[inside].max()))))
    return found


def dependent_columns(
    columns: Tensor, constant: Tensor, tolerance: float, dead: float, *, rank: int | None = None
) -> list[Dependent]:
    """Columns without which the rest and the constant still span the same, the closest to the span first; O(m n^2).

    The columns at length one, less their part along the constant, are chosen by QR with column pivoting until what is
    left of each is at most `tolerance`.

    Args:
        columns: (m, n), float64.
        constant: (m, 1) a column that is always there, or (m, 0).
        tolerance: part of a column outside the span of others up to which it counts as inside.
        dead: length beside the longest column, the constant among them, up to which a column counts as zero.
        rank: keep so many columns, the constant among them, whatever the tolerance says.

    Source: P. Businger, G. Golub, Linear least squares solutions by Householder transformations, 1965.
    """
    X, norms = unit_triangle(torch.cat([constant, columns], dim=1))
    first = constant.shape[1]
    size = norms[first:] / norms.max().clamp(min=torch.finfo(norms.dtype).tiny)
    alive = torch.nonzero(size > dead)[:, 0]
    found = [Dependent(int(j), "dead", float(size[j])) for j in torch.nonzero(size <= dead)[:, 0]]
    outside = project_out(X[:, :first], X[:, first + alive])
    bent = torch.linalg.vector_norm(outside, dim=0) > (tolerance if first else -1.0)
    R, order = qr(outside.cpu().numpy(), mode="r", pivoting=True)  # pyright: ignore[reportAssignmentType]
    R = torch.from_numpy(R)
    pivots = R.diagonal().abs()
    kept = int((pivots > tolerance).sum()) if rank is None else max(rank - int((norms[:first] > 0).sum()), 0)
    remainders = torch.linalg.vector_norm(R[kept:], dim=0)
    for place in range(kept, len(order)):
        which = int(order[place])
        reason = "collinear" if bool(bent[which]) else "constant"
        found.append(Dependent(int(alive[which]), reason, float(remainders[place])))
    return sorted(found, key=lambda each: (each.reason != "dead", each.remainder))


def unit_triangle(columns: Tensor) -> tuple[Tensor, Tensor]:
    """R (min(m, n), n) of the columns scaled to length one, zero columns left as they are, and their lengths (n,)."""
    unit, lengths = unit_columns(columns)
    return torch.linalg.qr(unit, mode="r").R, lengths


def unit_columns(columns: Tensor) -> tuple[Tensor, Tensor]:
    """The columns scaled to length one, zero columns left as they are, and their lengths (n,)."""
    largest = columns.abs().amax(0)
    scaled = columns / torch.where(largest > 0, largest, 1.0)  # squares of the entries may underflow
    lengths = torch.linalg.vector_norm(scaled, dim=0)
    return scaled / torch.where(lengths > 0, lengths, 1.0), largest * lengths

"""Columns of a matrix that are copies of each other up to a factor."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError
from grassvp.rank.arguments import check_level
from grassvp.rank.columns import direction_sines, unit_columns

__all__ = ["DUPLICATE_TOLERANCE", "DuplicateGroup", "duplicate_columns", "duplicate_groups"]

DUPLICATE_TOLERANCE = 1e-10
CROWD = 8  # candidates for copies of each other beyond which a finer sieve pays


@dataclass(frozen=True)
class DuplicateGroup:
    """Columns that are parallel to each other.

    Attributes:
        columns: their numbers, ascending.
        factors: column i is nearest to factors[i] times the first column.
        sine: largest sine of an angle between a column and the first one.
    """

    columns: tuple[int, ...]
    factors: tuple[float, ...]
    sine: float


def duplicate_columns(matrix: Any, tolerance: float = DUPLICATE_TOLERANCE) -> tuple[DuplicateGroup, ...]:
    """Groups of columns that are copies up to a factor: the sine of the angle between them is <= `tolerance`.

    Grouped transitively: in a group every column has a copy, and not every pair need be one. Columns of zeros have no
    direction and are in no group. The Gram matrix of the unit columns, which tells angles down to about 1e-7, names the
    candidates; their sines are then computed to full accuracy. O(m n^2), nothing larger than the matrix is formed.

    Args:
        matrix: (m, n), numpy or torch.
        tolerance: largest sine of copies, in [0, 1).

    Raises:
        ArgumentError, ArgumentTypeError: naming what is not a finite matrix, or the tolerance.
    """
    A = to_tensor(matrix, "matrix")
    if A.ndim != 2:
        raise ArgumentError(f"matrix must have shape (rows, columns), got {tuple(A.shape)}")
    units, norms = unit_columns(A.double().cpu().numpy())
    return duplicate_groups(units, norms, check_level(tolerance, "tolerance"))


def duplicate_groups(units: np.ndarray, norms: np.ndarray, tolerance: float) -> tuple[DuplicateGroup, ...]:
    """`duplicate_columns` of unit columns (p, n) with lengths (n,); length zero marks columns to be left out."""
    near = _candidates(units, norms > 0, tolerance)
    free = near.sum(axis=1) > 0  # columns that are in no group yet, and could be
    groups = []
    for first in np.flatnonzero(free):
        if free[first]:
            members = _reached(int(first), units, near, free, tolerance)
            if len(members) > 1:
                groups.append(_group(np.sort(members), units, norms))
    return tuple(groups)


def _candidates(units: np.ndarray, some: np.ndarray, tolerance: float) -> np.ndarray:
    """Pairs (n, n) among some unit columns whose sine may be within the tolerance.

    Cosines tell sines down to 1e-7. Among many columns nearer than that, the Gram matrix of their differences from one
    of them tells them down to 1e-15.
    """
    rounding = 8.0 * len(units) * np.finfo(float).eps
    near = np.abs(units.T @ units) >= math.sqrt(1.0 - tolerance**2) - rounding
    near &= some[:, None] & some
    for members in _crowds(near):
        cosines = units[:, members[0]] @ units[:, members]
        if np.abs(cosines).min() > 0.5:  # else the signs of two near columns may differ
            offsets = units[:, members] * np.sign(cosines) - units[:, members[:1]]
            gram = offsets.T @ offsets
            lengths = np.diag(gram)
            squares = lengths[:, None] + lengths - 2.0 * gram
            near[np.ix_(members, members)] &= squares <= (1.5 * tolerance) ** 2 + 4.0 * rounding * lengths.max()
    np.fill_diagonal(near, False)
    return near


def _crowds(near: np.ndarray) -> Iterator[np.ndarray]:
    """Sets of more than `CROWD` columns that are linked by pairs; none where no column is in as many pairs."""
    if near.sum(axis=1).max(initial=0) > CROWD:
        _, component = connected_components(csr_array(near), directed=False)
        for crowd in np.flatnonzero(np.bincount(component) > CROWD):
            yield np.flatnonzero(component == crowd)


def _reached(first: int, units: np.ndarray, near: np.ndarray, free: np.ndarray, tolerance: float) -> list[int]:
    """All free columns that a chain of copies links to the first one, which are then free no more."""
    members, waiting = [first], [first]
    free[first] = False
    while waiting:
        column = waiting.pop()
        candidates = np.flatnonzero(near[column] & free)
        sines = direction_sines(units[:, column], units[:, candidates])[0]
        copies = candidates[sines <= tolerance]
        free[copies] = False
        members += copies.tolist()
        waiting += copies.tolist()
    return members


def _group(columns: np.ndarray, units: np.ndarray, norms: np.ndarray) -> DuplicateGroup:
    first = columns[0]
    sines, cosines = direction_sines(units[:, first], units[:, columns])
    factors = cosines * (norms[columns] / norms[first])
    return DuplicateGroup(tuple(columns.tolist()), (1.0, *factors[1:].tolist()), float(sines[1:].max()))

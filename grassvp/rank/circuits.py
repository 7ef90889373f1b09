"""Columns of a matrix that lie in the span of few others: the circuits of its columns.

A QR factorisation of the unit columns with column pivoting splits them into pivots, which are independent, and columns
whose distance to the span of the pivots is within the tolerance: |R_kk| is the largest distance of a column that is
left to the span of the pivots before it. The coefficients of such a column in the pivots give the null vector that
belongs to it. Pivots that it can do without are left out, so that what remains is a circuit, whose members all need
each other.

Where pivots are themselves nearly dependent, coefficients that are zero come out as noise magnified by their condition.
They are told by what leaving them out costs, and not by their size.

Source: P. Businger, G. Golub, Linear least squares solutions by Householder transformations, 1965.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import qr, solve_triangular

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError
from grassvp.rank.arguments import check_level
from grassvp.rank.columns import unit_columns
from grassvp.rank.duplicates import DUPLICATE_TOLERANCE

__all__ = ["Circuit", "column_circuits", "dependent_columns"]

MOST_WORK = 5e9  # floating-point operations for circuits whose members are not plain from the coefficients


@dataclass(frozen=True)
class Circuit:
    """Columns of which each lies in the span of the others.

    Attributes:
        columns: their numbers, ascending.
        coefficients: of a null vector, for the columns scaled to length one; the largest is 1 in absolute value.
        residual: length of that combination of the unit columns.
    """

    columns: tuple[int, ...]
    coefficients: tuple[float, ...]
    residual: float


def dependent_columns(matrix: Any, tolerance: float = DUPLICATE_TOLERANCE) -> tuple[Circuit, ...]:
    """Circuits of the columns of a matrix, one for each column beyond a largest independent set.

    A column is dependent where, scaled to length one, its distance to the span of the others is <= `tolerance`. Columns
    of zeros are in no circuit. Together the circuits span the null space; the choice of them is not unique.

    Args:
        matrix: (m, n), numpy or torch, n > m allowed.
        tolerance: largest distance, the sine of an angle, in [0, 1).

    Raises:
        ArgumentError, ArgumentTypeError: naming what is not a finite matrix, or the tolerance.
    """
    A = to_tensor(matrix, "matrix")
    if A.ndim != 2:
        raise ArgumentError(f"matrix must have shape (rows, columns), got {tuple(A.shape)}")
    units, norms = unit_columns(A.double().cpu().numpy())
    return column_circuits(units, np.flatnonzero(norms > 0), check_level(tolerance, "tolerance"))


def column_circuits(units: np.ndarray, columns: np.ndarray, tolerance: float) -> tuple[Circuit, ...]:
    """`dependent_columns` among some `columns` of unit columns (p, n)."""
    if not columns.size:
        return ()
    R, order = _pivoted(units[:, columns])
    sizes = np.abs(np.diag(R))
    rank = int(np.sum(np.cumprod(sizes > tolerance)))
    if rank == columns.size:
        return ()
    T, B = R[:rank, :rank], R[:rank, rank:]
    outside = np.linalg.norm(R[rank:, rank:], axis=0)
    X, left = _coefficients(T, B, outside, tolerance)
    return tuple(
        _circuit(columns[[*order[np.flatnonzero(x)], order[rank + i]]], x[x != 0], left[i]) for i, x in enumerate(X.T)
    )


def _pivoted(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R, without rows of zeros below, and the order of the columns, of a QR factorisation with column pivoting."""
    found: tuple[Any, ...] = qr(matrix, mode="r", pivoting=True, check_finite=False)
    return found[0][: min(matrix.shape)], found[-1]


def _coefficients(T: np.ndarray, B: np.ndarray, outside: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Sparse X (r, c) with T X = B, and the residuals (c,), which are at most 2 x the tolerance.

    Leaving out pivot i alone costs |x_i| times its distance to the span of the other pivots, which is one over the
    length of row i of T^-1. What costs no more than the tolerance mostly can go all at once. Where it cannot, as pivots
    stand in for each other, the columns are made of as few of the dearest pivots as will do.
    """
    X = solve_triangular(T, B, check_finite=False)
    distances = 1.0 / np.linalg.norm(solve_triangular(T, np.eye(len(T)), check_finite=False), axis=1)
    costs = np.abs(X) * distances[:, None]
    sparse = np.where(costs > tolerance, X, 0.0)
    left = np.hypot(np.linalg.norm(T @ sparse - B, axis=0), outside)
    unfinished = np.flatnonzero(left > 2.0 * tolerance)
    if unfinished.size * float(len(T)) ** 3 > MOST_WORK:
        sparse[:, unfinished], left[unfinished] = X[:, unfinished], outside[unfinished]
        return sparse, left
    for i in unfinished:
        order = np.argsort(-costs[:, i], kind="stable")
        R = np.asarray(np.linalg.qr(np.column_stack([T[:, order], B[:, i]]), mode="r"))
        tails = np.sqrt(np.cumsum(R[::-1, -1] ** 2)[::-1] + outside[i] ** 2)  # [k]: distance to the span of the first k
        count = int(np.argmax(np.append(tails <= 2.0 * tolerance, True)))
        sparse[:, i], left[i] = 0.0, np.append(tails, outside[i])[count]
        sparse[order[:count], i] = solve_triangular(R[:count, :count], R[:count, -1], check_finite=False)
    return sparse, left


def _circuit(columns: np.ndarray, x: np.ndarray, left: float) -> Circuit:
    """The circuit of pivots with coefficients x and, last of its columns, what they make."""
    vector, order = np.append(x, -1.0), np.argsort(columns)
    size = float(np.abs(vector).max())
    return Circuit(tuple(columns[order].tolist()), tuple((vector[order] / size).tolist()), float(left) / size)

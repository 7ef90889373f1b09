"""Subspaces as orthonormal bases: principal angles and the geodesic distance, accurate from 1e-16 to pi/2.

The angles between span(U) and span(V) are computed from their sines below pi/4 and from their cosines above, because
arccos loses half the digits of a small angle and arcsin those of one near pi/2 (Bjoerck and Golub, 1973).
Functions take numpy arrays or torch tensors and answer in kind.
"""

import math
from typing import Any

from array_api_compat import array_namespace

__all__ = ["principal_angles", "subspace_distance"]


def principal_angles(first: Any, second: Any) -> Any:
    """Principal angles between span(`first`) and span(`second`), ascending, in radians.

    Args:
        first: (m, p) array of full column rank, numpy or torch.
        second: (m, r) array of full column rank of the same kind.

    Returns:
        (min(p, r),) array of angles in [0, pi/2].

    Raises:
        ValueError: the arrays are not matrices with equally many rows, or have more columns than rows.

    Source: A. Bjoerck, G. Golub, Numerical methods for computing angles between linear subspaces, 1973.
    """
    _check_pair(first, second)
    xp = array_namespace(first, second)
    return _angles_of_bases(xp.linalg.qr(first)[0], xp.linalg.qr(second)[0])


def subspace_distance(first: Any, second: Any) -> Any:
    """Geodesic distance sqrt(sum_i angle_i^2) between the spans of two matrices with orthonormal columns.

    Args:
        first: (m, p) array with orthonormal columns, numpy or torch.
        second: (m, r) array with orthonormal columns. Where p != r, the min(p, r) angles that exist count.

    Returns:
        The distance in radians, a scalar array.
    """
    _check_pair(first, second)
    xp = array_namespace(first, second)
    angles = _angles_of_bases(first, second)
    return xp.sqrt(xp.sum(angles * angles))


def _angles_of_bases(U: Any, V: Any) -> Any:
    """Angles of two orthonormal bases: sines from the part of the smaller basis outside the larger one."""
    xp = array_namespace(U, V)
    if V.shape[1] > U.shape[1]:
        U, V = V, U
    if V.shape[1] == 0:
        return U[0, :0]
    outside = V - U @ (U.T @ V)
    sines = xp.flip(xp.linalg.svdvals(outside), axis=0)
    small = xp.asin(xp.clip(sines, 0.0, 1.0))
    if float(sines[-1]) <= math.sqrt(0.5):
        return small
    cosines = xp.linalg.svdvals(U.T @ V)
    large = xp.acos(xp.clip(cosines, 0.0, 1.0))
    return xp.where(sines <= math.sqrt(0.5), small, large)


def _check_pair(first: Any, second: Any) -> None:
    for name, basis in (("first", first), ("second", second)):
        if basis.ndim != 2 or basis.shape[1] > basis.shape[0]:
            raise ValueError(f"{name} must be (m, p) with p <= m, got shape {tuple(basis.shape)}")
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"first and second must have equally many rows, got {first.shape[0]} and {second.shape[0]}")

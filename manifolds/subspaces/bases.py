"""Orthonormal bases of subspaces and orthogonal projections with them."""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from manifolds.arguments import check_dtype, number, precision, quiet

__all__ = ["norm", "orthonormal_basis", "polar_factor", "polish", "project_onto", "project_out", "project_out_once"]


def orthonormal_basis(matrix: Any) -> Any:
    """Orthonormal basis of the span of a matrix: the Q of its QR factorisation with positive diagonal of R, which is
    unique.

    Args:
        matrix: (..., m, n) array of full column rank, m >= n.

    Raises:
        ValueError: more columns than rows, or columns that are dependent to rounding.
    """
    _check_tall(matrix, "matrix")
    xp = array_namespace(matrix)
    Q, R = xp.linalg.qr(matrix)
    diagonal = xp.linalg.diagonal(R)
    _check_rank(xp.abs(diagonal), matrix)
    return Q * xp.where(diagonal < 0, -1.0, 1.0)[..., None, :]


@quiet
def polar_factor(matrix: Any) -> Any:
    """Orthogonal polar factor A (A^T A)^(-1/2): of all matrices with orthonormal columns the nearest to A.

    The square root comes from the Gram matrix where kappa(A)^2 <= 100, so that it costs no digit, and from QR and SVD
    elsewhere.

    Args:
        matrix: (..., m, n) array of full column rank, m >= n.

    Raises:
        ValueError: more columns than rows, columns that are dependent to rounding, NaN or infinity.

    Source: N. Higham, Computing the polar decomposition, 1986.
    """
    _check_tall(matrix, "matrix")
    xp = array_namespace(matrix)
    gram = matrix.mT @ matrix
    if not 1e-30 < number(gram.max()) < 1e30:  # squares near the ends of float32's range, or NaN
        return _polar_factor_by_svd(matrix)
    squares, V = xp.linalg.eigh(gram)
    least, largest = number(squares.min()), number(squares.max())
    if not largest <= 100.0 * least:
        return _polar_factor_by_svd(matrix)
    basis = matrix @ ((V / xp.sqrt(squares)[..., None, :]) @ V.mT)
    return basis if largest <= 4.0 * least else polish(basis)


def _polar_factor_by_svd(matrix: Any) -> Any:
    xp = array_namespace(matrix)
    if not bool(xp.all(xp.isfinite(matrix))):
        raise ValueError("matrix has NaN or infinite entries: a polar factor needs finite ones")
    Q, R = xp.linalg.qr(matrix)
    U, singular, Vt = xp.linalg.svd(R, full_matrices=False)
    _check_rank(singular, matrix)
    return Q @ (U @ Vt)


def polish(basis: Any) -> Any:
    """One Newton-Schulz step toward the polar factor: a defect e of orthonormality becomes 3/4 e^2, the span stays."""
    xp = array_namespace(basis)
    gram = basis.mT @ basis
    return basis @ (1.5 * xp.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device) - 0.5 * gram)


def project_onto(basis: Any, vectors: Any) -> Any:
    """U U^T V: the part of `vectors` (..., m, r) inside the span of the orthonormal `basis` (..., m, n)."""
    return basis @ (basis.mT @ vectors)


def project_out(basis: Any, vectors: Any) -> Any:
    """(I - U U^T) V, applied twice: the part of `vectors` (..., m, r) orthogonal to the orthonormal `basis` (..., m,
    n).
    """
    return project_out_once(basis, project_out_once(basis, vectors))


def project_out_once(basis: Any, vectors: Any) -> Any:
    """(I - U U^T) V, orthogonal to U up to rounding of V and the defect of U."""
    outside = basis @ -(basis.mT @ vectors)
    outside += vectors
    return outside


def norm(array: Any) -> Any:
    """Frobenius norm over all entries, without the overflow or underflow of their squares."""
    entries = array.reshape(-1)
    square = np.vdot(entries, entries) if isinstance(entries, np.ndarray) else entries.dot(entries)  # vdot never warns
    if 1e-30 < square < 1e30:
        return square**0.5
    if entries.shape[0] == 0:
        return square
    largest = abs(entries).max()
    if not 0 < number(largest) < math.inf:
        return largest
    entries = entries / largest
    return largest * entries.dot(entries) ** 0.5


def _check_tall(matrix: Any, name: str) -> None:
    check_dtype(matrix, name)
    if matrix.ndim < 2 or matrix.shape[-1] > matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"{name} must be (..., m, n) with 1 <= n <= m, got shape {tuple(matrix.shape)}")


def _check_rank(sizes: Any, matrix: Any) -> None:
    """Raise unless the smallest of `sizes` (..., n) stands above the rounding of the largest."""
    xp = array_namespace(sizes)
    least, largest = xp.min(sizes, axis=-1), xp.max(sizes, axis=-1)
    if not bool(xp.all(xp.isfinite(largest))):
        raise ValueError("matrix has NaN or infinite entries")
    if not bool(xp.all(least > precision(matrix) * matrix.shape[-2] * largest)):
        share = number(xp.min(least / largest)) if number(xp.min(largest)) > 0 else 0.0
        raise ValueError(
            f"matrix must have full column rank, got relative size {share:.1e} of its smallest direction: "
            "leave out dependent columns"
        )

"""Functions of the singular values of small matrices, to the last digit.

LAPACK's SVD with vectors may stop at a backward error near 90 eps. Where the result is U diag(f) W^T, one step of
first-order perturbation theory with the residual U^T A W - diag(c), a few products of n x n matrices, removes it.
"""

from typing import Any

from array_api_compat import array_namespace

from manifolds.arguments import number, precision
from manifolds.subspaces.bases import norm

__all__ = ["orthogonal_factor", "singular_function"]


def singular_function(matrix: Any, factors: tuple[Any, Any, Any], values: Any, derivatives: Any) -> Any:
    """U diag(f(c)) W^T for A = U diag(c) W^T, whose factors are given to some 100 eps.

    With the residual E = U^T A W - diag(c) the correction of diag(f) is, entry by entry, (f_i - f_j) / (c_i - c_j)
    times the symmetric part of E plus (f_i + f_j) / (c_i + c_j) times the skew part.

    Args:
        matrix: A (..., n, n).
        factors: U, c, W^T.
        values: f(c) (..., n).
        derivatives: f'(c) (..., n).

    Source: V. Noferini, A formula for the Frechet derivative of a generalized matrix function, 2017.
    """
    xp = array_namespace(matrix)
    U, c, Wt = factors
    residual = U.mT @ matrix @ Wt.mT
    residual = residual - c[..., None, :] * xp.eye(c.shape[-1], dtype=c.dtype, device=c.device)
    if number(norm(residual)) <= 4 * precision(c) * c.shape[-1] ** 0.5:
        return (U * values[..., None, :]) @ Wt
    gaps, sums = c[..., :, None] - c[..., None, :], c[..., :, None] + c[..., None, :]
    near = xp.abs(gaps) <= 1e-4
    slopes = (values[..., :, None] - values[..., None, :]) / xp.where(near, 1.0, gaps)
    slopes = xp.where(near, 0.5 * (derivatives[..., :, None] + derivatives[..., None, :]), slopes)
    far = sums > precision(c) ** 0.5  # below, the residual is no small perturbation of the pair
    turns = xp.where(far, (values[..., :, None] + values[..., None, :]) / xp.where(far, sums, 1.0), 0.0)
    change = 0.5 * (slopes * (residual + residual.mT) + turns * (residual - residual.mT))
    return (U * values[..., None, :] + U @ change) @ Wt


def orthogonal_factor(matrix: Any) -> Any:
    """Orthogonal polar factor U W^T of a square matrix (..., n, n), the orthogonal matrix nearest to it."""
    xp = array_namespace(matrix)
    factors = xp.linalg.svd(matrix, full_matrices=False)
    return singular_function(matrix, factors, xp.ones_like(factors[1]), xp.zeros_like(factors[1]))

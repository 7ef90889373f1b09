"""What makes an array a point of the Grassmannian, a tangent vector, or a projector."""

import math
from typing import Any

from array_api_compat import array_namespace, device

from manifolds.arguments import number, precision
from manifolds.subspaces import norm

__all__ = ["check_horizontal", "check_orthonormal", "range_of_projector"]


def tolerance(array: Any) -> float:
    """eps^(2/3), 4e-11 in float64: far above rounding, far below what any use of a wrong point would forgive."""
    return precision(array) ** (2 / 3)


def check_orthonormal(point: Any, name: str) -> None:
    """Raise ValueError unless ||X^T X - I||_F <= eps^(2/3) sqrt(n) for an array (..., m, n)."""
    xp, gram = array_namespace(point), point.mT @ point
    defect = number(norm(gram - xp.eye(gram.shape[-1], dtype=gram.dtype, device=device(gram))))
    if not defect <= tolerance(point) * math.sqrt(math.prod(gram.shape[:-1])):
        raise ValueError(f"{name} must have orthonormal columns, got ||X^T X - I||_F = {defect:.1e}: use polar_factor")


def check_horizontal(point: Any, tangent_vector: Any) -> None:
    """Raise ValueError unless ||X^T D||_F <= eps^(2/3) ||D||_F."""
    size, defect = number(norm(tangent_vector)), number(norm(point.mT @ tangent_vector))
    if not defect <= tolerance(point) * size:
        raise ValueError(
            f"tangent_vector must have X^T D = 0, got ||X^T D|| = {defect / size:.1e} ||D||: use projection"
        )


def range_of_projector(projector: Any, n: int) -> Any:
    """Orthonormal basis (..., m, n) of the range of a finite orthogonal projector (..., m, m) of rank n.

    Raises:
        ValueError: not symmetric, eigenvalues other than 0 and 1, or another rank.
    """
    xp, m = array_namespace(projector), projector.shape[-1]
    bound = tolerance(projector) * math.sqrt(m)
    asymmetry = number(norm(projector - projector.mT))
    if asymmetry > bound:
        raise ValueError(f"projector must be symmetric, got ||P - P^T||_F = {asymmetry:.1e}")
    values, vectors = xp.linalg.eigh(0.5 * (projector + projector.mT))
    distances = xp.minimum(xp.abs(values), xp.abs(values - 1.0))
    if number(xp.max(distances)) > bound:
        raise ValueError(f"projector must have eigenvalues 0 and 1 only, got one {number(xp.max(distances)):.1e} away")
    ranks = xp.count_nonzero(values > 0.5, axis=-1)
    if not bool(xp.all(ranks == n)):
        raise ValueError(f"projector must have rank {n}, got rank {int(xp.max(ranks))}")
    return xp.flip(vectors[..., m - n :], axis=-1)

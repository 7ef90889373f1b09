"""Points and vectors in whatever form pymanopt keeps them: an array, a tuple of arrays, or a list of either."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["as_tangent", "distance", "inner", "leaves", "mapped", "norm", "precision", "same_layout", "size"]


def leaves(value: Any) -> list[np.ndarray]:
    """The arrays that a point or vector consists of."""
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [np.asarray(value)]


def mapped(function: Callable[..., Any], *values: Any) -> Any:
    """`function` of each array, in lists of the same nesting."""
    if isinstance(values[0], list | tuple):
        return [mapped(function, *parts) for parts in zip(*values, strict=True)]
    return function(*values)


def same_layout(first: Any, second: Any) -> bool:
    """Whether both consist of arrays of the same shapes."""
    return [leaf.shape for leaf in leaves(first)] == [leaf.shape for leaf in leaves(second)]


def size(value: Any) -> float:
    """Frobenius norm over all arrays."""
    return math.hypot(*(float(np.linalg.norm(leaf.ravel())) for leaf in leaves(value)))


def distance(first: Any, second: Any) -> float:
    """Frobenius norm of the difference; infinite for different layouts."""
    if not same_layout(first, second):
        return math.inf
    pairs = zip(leaves(first), leaves(second), strict=True)
    return math.hypot(*(float(np.linalg.norm((a - b).ravel())) for a, b in pairs))


def precision(*values: Any) -> float:
    """Unit of rounding of the coarsest array or number; integers count as float64."""
    kinds = {leaf.dtype for value in values for leaf in leaves(value)}
    return max((float(np.finfo(kind).eps) for kind in kinds if kind.kind in "fc"), default=2.0**-52)


def as_tangent(manifold: Any, point: Any, vector: Any) -> Any:
    """`vector` with the arithmetic of the manifold's tangent vectors, which a plain list lacks."""
    return manifold.zero_vector(point) + vector if isinstance(vector, list | tuple) else vector


def inner(manifold: Any, point: Any, u: Any, v: Any) -> float:
    """<u, v> as a float; some manifolds return it as a complex number."""
    return float(np.real(manifold.inner_product(point, u, v)))


def norm(manifold: Any, point: Any, vector: Any) -> float:
    """|v| from the metric; also of a vector that is not tangent, for which a metric may be negative."""
    return math.sqrt(abs(inner(manifold, point, vector, vector)))

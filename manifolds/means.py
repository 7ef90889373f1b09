"""The Frechet mean by Karcher's iteration, for any manifold with exp and log."""

from typing import Any

from array_api_compat import array_namespace

from manifolds.arguments import number, precision, warn_caller
from manifolds.subspaces import norm

__all__ = ["frechet_mean"]


def frechet_mean(manifold: Any, points: Any, *, max_iterations: int = 500) -> Any:
    """Iterates X <- exp(X, mean_i log(X, X_i)) from the first point until the mean logarithm is rounding.

    It ends where the length of that gradient is at most 4 eps, or below sqrt(eps) and no longer shrinking.

    Args:
        manifold: has `exp` and `log`.
        points: (count, ...) stack of points.
        max_iterations: bound on the iterations; reaching it is a RuntimeWarning with the gradient's length.
    """
    xp, count = array_namespace(points), points.shape[0]
    eps = precision(points)
    mean, last = 1.0 * points[0], float("inf")
    for _ in range(max_iterations):
        gradient = sum((manifold.log(mean, points[i]) for i in range(count)), start=xp.zeros_like(mean)) / count
        size = number(norm(gradient))
        if size <= 4 * eps or (size <= eps**0.5 and size >= last):
            return mean
        mean, last = manifold.exp(mean, gradient), size
    warn_caller(
        f"the mean was not reached in {max_iterations} iterations (gradient {last:.1e}): the points are too far apart",
        RuntimeWarning,
    )
    return mean

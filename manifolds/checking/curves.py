"""The curves that derivatives are taken along."""

from collections.abc import Callable
from typing import Any

import numpy as np
from pymanopt.manifolds.manifold import RetrAsExpMixin

from manifolds.checking.vectors import leaves

__all__ = ["Curve", "curve_of", "has_exp", "implemented", "usable_exp"]

Curve = Callable[[Any, Any], Any]
"""A map (point, tangent vector) -> point."""


def implemented(method: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a method answers with anything but NotImplementedError; what else it raises is raised."""
    try:
        method(*arguments)
    except NotImplementedError:
        return False
    return True


def has_exp(manifold: Any, point: Any) -> bool:
    """Whether the manifold has an exponential map of its own.

    pymanopt's RetrAsExpMixin stands in for a missing one with the retraction and a warning, also as a factor of a
    product.
    """
    factors = (manifold, *getattr(manifold, "manifolds", ()))
    if any(isinstance(factor, RetrAsExpMixin) for factor in factors):
        return False
    return implemented(manifold.exp, point, manifold.zero_vector(point))


def usable_exp(manifold: Any, point: Any) -> bool:
    """Whether derivatives may be taken along exp: it is there, and keeps complex points complex.

    pymanopt 2.2.1's ComplexCircle.exp drops the imaginary part, with a warning: `check_manifold` says so, but a cost
    on that manifold can be checked all the same.
    """
    try:
        if not has_exp(manifold, point):
            return False
        start = manifold.exp(point, manifold.zero_vector(point))
    except np.exceptions.ComplexWarning:
        return False
    return [leaf.dtype.kind for leaf in leaves(start)] == [leaf.dtype.kind for leaf in leaves(point)]


def curve_of(manifold: Any, point: Any) -> tuple[Curve, str]:
    """The exponential map if the manifold has one, else its retraction; and its symbol, "exp" or "R"."""
    return (manifold.exp, "exp") if usable_exp(manifold, point) else (manifold.retraction, "R")

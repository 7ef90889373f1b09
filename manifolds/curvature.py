"""Sectional curvature of the Grassmannian from horizontal lifts."""

import math
from typing import Any

from array_api_compat import array_namespace

from manifolds.arguments import number, precision, quiet
from manifolds.subspaces import norm

__all__ = ["sectional_curvature"]


@quiet
def sectional_curvature(u: Any, v: Any) -> Any:
    """Curvature of the plane of two horizontal lifts (..., m, n) in the metric tr(u^T v), between 0 and 2.

    For orthonormal u, v it is (||u^T v - v^T u||^2 + ||u v^T - v u^T||^2) / 2 in Frobenius norms. The second, m x m
    matrix is formed in an orthonormal basis of the columns of [u v], where it has 2n rows. Leading axes are factors
    of a product.

    Raises:
        ValueError: u and v are linearly dependent to rounding, zero or not finite.

    Source: Y.-C. Wong, Sectional curvatures of Grassmann manifolds, 1968.
    """
    xp = array_namespace(u, v)
    for name, vector in (("u", u), ("v", v)):
        if not 0 < number(norm(vector)) < math.inf:
            raise ValueError(f"{name} must be nonzero and finite, got norm {number(norm(vector))}")
    u = u / norm(u)
    v = v / norm(v)
    rest = v - xp.sum(u * v) * u
    sine = number(norm(rest))
    if sine <= 100 * precision(v):
        raise ValueError(f"u and v must span a plane, got a sine of {sine:.1e} between them")
    v = rest / sine
    v = v - xp.sum(u * v) * u
    small = xp.linalg.qr(xp.concat([u, v], axis=-1))[1]
    a, b = small[..., : u.shape[-1]], small[..., u.shape[-1] :]
    inner, outer = a.mT @ b, a @ b.mT
    turned = xp.sum((inner - inner.mT) ** 2) + xp.sum((outer - outer.mT) ** 2)
    return (0.5 * turned).clip(0.0, 2.0)

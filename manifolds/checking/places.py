"""Where the laws of a manifold are tried: random points and unit tangent vectors."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manifolds.checking.curves import has_exp
from manifolds.checking.sampling import ambient_vector, perturbed, random_point, unit_vector
from manifolds.checking.vectors import as_tangent, inner, mapped, norm, precision, same_layout

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """A manifold at two random points, with unit tangent vectors at the first."""

    manifold: Any
    x: Any
    other: Any
    u: Any
    v: Any
    w: Any
    rng: np.random.Generator

    @classmethod
    def random(cls, manifold: Any, rng: np.random.Generator) -> "Place":
        """Random points and vectors."""
        x, other = random_point(manifold, rng), random_point(manifold, rng)
        u, v, w = (unit_vector(manifold, x, rng) for _ in range(3))
        return cls(manifold, x, other, u, v, w, rng)

    @cached_property
    def ambient(self) -> Any:
        """A vector of the ambient space; where its form is not that of the points, only tangent ones are known."""
        tangent = self.manifold.embedding(self.x, self.u)
        return ambient_vector(self.x, self.rng) if same_layout(self.x, tangent) else tangent

    def random_vector(self) -> Any:
        """A projected vector of the ambient space, or a random tangent vector where points are of another form."""
        if same_layout(self.x, self.manifold.embedding(self.x, self.u)):
            return self.manifold.projection(self.x, ambient_vector(self.x, self.rng))
        return unit_vector(self.manifold, self.x, self.rng)

    @cached_property
    def length(self) -> float:
        """The length of short vectors."""
        return min(0.1, 0.25 * float(getattr(self.manifold, "injectivity_radius", np.inf)))

    @cached_property
    def rounding(self) -> float:
        """Rounding errors eps kappa^2, where kappa eps is the length of the rounding errors of x in the metric.

        Near the boundary of the Poincare ball the metric magnifies them, and formulas that are written without care
        for it lose as much again. 0 where points are not arrays of the ambient space.
        """
        if not same_layout(self.x, self.manifold.embedding(self.x, self.u)):
            return 0.0
        eps = precision(self.x)
        change = as_tangent(self.manifold, self.x, mapped(np.subtract, perturbed(self.x, self.rng), self.x))
        return eps * max(1.0, self.norm(change) / eps) ** 2

    def short(self, vector: Any) -> Any:
        """A unit vector shortened."""
        return self.length * vector

    def exp(self, point: Any, vector: Any) -> Any:
        """The exponential map; NotImplementedError where the manifold has none of its own."""
        if not has_exp(self.manifold, self.x):
            raise NotImplementedError("no exponential map")
        return self.manifold.exp(point, vector)

    def dist(self, first: Any, second: Any) -> float:
        """Distance as a float."""
        return float(np.real(self.manifold.dist(first, second)))

    def inner(self, u: Any, v: Any) -> float:
        """Inner product at x."""
        return inner(self.manifold, self.x, u, v)

    def norm(self, vector: Any, point: Any = None) -> float:
        """Length at x, or at another point."""
        return norm(self.manifold, self.x if point is None else point, vector)

    def off_tangent(self, point: Any, vector: Any) -> float:
        """|proj(v) - v| at a point."""
        projected = self.manifold.projection(point, self.manifold.embedding(point, vector))
        return self.norm(as_tangent(self.manifold, point, projected) - vector, point)

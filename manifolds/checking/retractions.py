"""A retraction against the exponential map: R(x, 0) = x, on the manifold, and equal to first order."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manifolds.checking.curves import Curve, implemented, usable_exp
from manifolds.checking.differences import FIRST_STEP, remainder_slope
from manifolds.checking.reports import Check, at_least, at_most
from manifolds.checking.sampling import is_finite, perturbed
from manifolds.checking.vectors import as_tangent, distance, leaves, precision, same_layout, size

__all__ = ["Arc", "idempotence_defect", "retraction_checks"]

STEPS = FIRST_STEP * 0.5 ** np.arange(14)
SAME = 1e-7  # relative, for points that should be equal
ON_MANIFOLD = 1e-7
COARSE = 1e-4  # a distance of equal points that makes the distance useless


@dataclass(frozen=True)
class Arc:
    """A point, a unit tangent vector, and the retraction that is looked at along it."""

    manifold: Any
    retraction: Curve
    point: Any
    vector: Any
    rng: np.random.Generator

    @cached_property
    def has_exp(self) -> bool:
        """Whether there is an exponential map to compare with."""
        return usable_exp(self.manifold, self.point)

    @cached_property
    def has_dist(self) -> bool:
        """Whether distances can be measured in the manifold, and are near 0 where they should be."""
        if not (self.has_exp and implemented(self.manifold.dist, self.point, self.point)):
            return False
        start = self.manifold.exp(self.point, 0.0 * self.vector)
        return (
            abs(self.manifold.dist(self.point, self.point)) < COARSE
            and abs(self.manifold.dist(start, self.point)) < COARSE
        )

    @cached_property
    def embedded(self) -> bool:
        """Whether points and vectors are arrays of the same ambient space, so that x + t v makes sense."""
        return same_layout(self.point, self.manifold.embedding(self.point, self.vector))

    def reference(self, t: float) -> Any:
        """exp(x, t v), or x + t v in the ambient space."""
        if self.has_exp:
            return self.manifold.exp(self.point, t * self.vector)
        ambient = leaves(self.manifold.embedding(self.point, self.vector))
        return [leaf + t * part for leaf, part in zip(leaves(self.point), ambient, strict=True)]

    def apart(self, first: Any, second: Any) -> float:
        """Distance of two points, in the manifold if it has exp and dist, else in the ambient space."""
        if self.has_dist:
            return float(np.real(self.manifold.dist(first, second)))
        return distance(leaves(first), leaves(second))

    def noise(self, points: list[Any]) -> float:
        """Largest distance that is found between points which differ by rounding only.

        A distance by the arccosine of a cosine near 1 is off by sqrt(eps), and not always: hence many points.
        """
        found = [self.apart(p, q) for p in points for q in (p, perturbed(p, self.rng))]
        eps = precision(self.point)
        return max([1e3 * eps * max(1.0, size(self.point)), *(value for value in found if np.isfinite(value))])


def retraction_checks(arc: Arc, label: str = "") -> Iterator[Check]:
    """The checks along one arc; none where points and vectors cannot be compared."""
    ends = [arc.retraction(arc.point, t * arc.vector) for t in STEPS.tolist()]
    yield from on_manifold_checks(arc, ends[0], label)
    if not (arc.has_exp or arc.embedded):
        return
    references = [arc.reference(t) for t in STEPS.tolist()]
    noise = arc.noise([*ends, *references])
    start = arc.retraction(arc.point, 0.0 * arc.vector)
    meaning = "The retraction of the zero vector is another point."
    yield at_most(f"start{label}", "R(x, 0) = x", arc.apart(start, arc.point), max(SAME, 4 * noise), meaning)
    errors = np.array([arc.apart(end, reference) for end, reference in zip(ends, references, strict=True)])
    floor = np.full(
        len(STEPS), noise
    )  # also over all steps: an error of higher order may change its sign at the smallest
    slope = max(remainder_slope(STEPS, errors, floor, points=points) for points in (4, len(STEPS)))
    statement = "dist(exp(x, t v), R(x, t v)) = O(t^2)" if arc.has_exp else "|R(x, t v) - x - t v| = O(t^2)"
    meaning = f"The error shrinks like t^{slope:.2f}: R leaves x with another velocity than v."
    yield at_least(f"first order{label}", statement, slope, 1.7, meaning, STEPS, errors)


def on_manifold_checks(arc: Arc, end: Any, label: str) -> Iterator[Check]:
    """R(x, v) is a point: so says is_point, or else the projection there, which is one only at points.

    All that is asked is a finite R(x, v) where the projection is none at x either, or does not take vectors in the form
    in which the manifold embeds them, as in pymanopt's products of manifolds with an embedding of their own.
    """
    manifold, name, meaning = arc.manifold, f"on the manifold{label}", "R(x, v) is not a point of the manifold."
    if hasattr(manifold, "is_point"):
        yield at_most(name, "is_point(R(x, v))", 0.0 if manifold.is_point(end) else np.inf, 0.0, meaning)
        return
    ambient = manifold.embedding(arc.point, arc.vector)
    if distance(manifold.projection(arc.point, ambient), arc.vector) > ON_MANIFOLD * size(arc.vector):
        unjudged = 0.0 if is_finite(end) else np.inf
        yield at_most(f"finite{label}", "R(x, v) is finite", unjudged, 0.0, "R(x, v) has NaN or infinite entries.")
        return
    defect = idempotence_defect(manifold, end, ambient)
    yield at_most(name, "proj(y, proj(y, w)) = proj(y, w) at y = R(x, v)", defect, ON_MANIFOLD, meaning)


def idempotence_defect(manifold: Any, point: Any, ambient: Any) -> float:
    """|proj(proj(w)) - proj(w)|, relative, for a vector of the ambient space."""
    once = as_tangent(manifold, point, manifold.projection(point, ambient))
    twice = as_tangent(manifold, point, manifold.projection(point, manifold.embedding(point, once)))
    return size(twice - once) / (size(ambient) or 1.0)

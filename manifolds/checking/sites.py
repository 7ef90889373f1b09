"""A problem at a point: its cost along curves, its gradient, its Hessian, each evaluated once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from manifolds.checking.curves import Curve, curve_of
from manifolds.checking.differences import Samples, sample_along
from manifolds.checking.sampling import unit_vector
from manifolds.checking.vectors import as_tangent, norm, precision, size

__all__ = ["Site"]

RANDOM_DIRECTIONS = 4


@dataclass(frozen=True)
class Site:
    """A problem at a point, with the directions in which it is looked at."""

    problem: Any
    point: Any
    rng: np.random.Generator
    tangent_vector: Any = None
    samples: dict[str, Samples] = field(default_factory=dict, init=False)

    @property
    def manifold(self) -> Any:
        """The manifold of the problem."""
        return self.problem.manifold

    def cost(self, point: Any) -> float:
        """The cost as a float."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return float(np.real(self.problem.cost(point)))

    @cached_property
    def eps(self) -> float:
        """Unit of rounding of the cost, which may compute in less precision than the point has."""
        return precision(self.point, self.problem.cost(self.point))

    @cached_property
    def curve(self) -> tuple[Curve, str]:
        """The exponential map or the retraction, and its symbol."""
        return curve_of(self.manifold, self.point)

    @cached_property
    def gradient(self) -> Any:
        """The Riemannian gradient."""
        return derivative("gradient", lambda: self.tangent(self.problem.riemannian_gradient(self.point)))

    def hessian(self, vector: Any) -> Any:
        """The Riemannian Hessian along a vector."""
        return derivative("Hessian", lambda: self.tangent(self.problem.riemannian_hessian(self.point, vector)))

    @cached_property
    def rounding(self) -> float:
        """Size of the rounding errors of a Riemannian gradient: those of the Euclidean one, if there is one."""
        try:
            return 1e3 * self.eps * size(self.problem.euclidean_gradient(self.point))
        except NotImplementedError:
            return 1e3 * self.eps * abs(self.cost(self.point))

    @cached_property
    def noise(self) -> float:
        """What rounding may leave of the derivatives of a cost that is constant along curves."""
        return max(self.rounding, 1e3 * self.eps * abs(self.cost(self.point)))

    @cached_property
    def directions(self) -> dict[str, Any]:
        """Unit tangent vectors by name: the caller's and random ones; none on a manifold of dimension zero."""
        if self.manifold.dim == 0:
            return {}
        given = {} if self.tangent_vector is None else {"given": self.normalized(self.tangent_vector)}
        names = [f"random {i + 1}" for i in range(RANDOM_DIRECTIONS)]
        return given | {name: unit_vector(self.manifold, self.point, self.rng) for name in names}

    def along(self, name: str, vector: Any) -> Samples:
        """The cost along a direction, evaluated once for each name."""
        if name not in self.samples:
            curve = self.curve[0]
            self.samples[name] = sample_along(lambda t: self.cost(curve(self.point, t * vector)), self.eps)
        return self.samples[name]

    @cached_property
    def variation(self) -> float:
        """Change of the cost within a quarter of a unit step in any direction."""
        return max((self.along(*item).variation for item in self.directions.items()), default=0.0)

    def tangent(self, vector: Any) -> Any:
        """The vector with the arithmetic of tangent vectors."""
        return as_tangent(self.manifold, self.point, vector)

    def length(self, vector: Any) -> float:
        """Its length in the metric."""
        return norm(self.manifold, self.point, vector)

    def normalized(self, vector: Any) -> Any:
        """The unit vector of the same direction."""
        vector = self.tangent(vector)
        return vector / self.length(vector)


def derivative(name: str, evaluate: Callable[[], Any]) -> Any:
    """The derivative, or ValueError where the problem has none."""
    try:
        return evaluate()
    except NotImplementedError as error:
        raise ValueError(f"problem must have a {name} on its manifold: {error}") from error

"""The regularised Grassmann manifold: matrices Phi of any rank, with the geometry of span [Phi; sqrt(lam) I].

This is the project's own definition, not taken from the literature. Why this one: the subspace of [Phi; sqrt(lam)
I_n] in R^(m+n) is what regularised least squares projects on, so its value is a function on Gr(m + n, n); every Phi,
rank-deficient ones included, is a regular point, because these subspaces are an affine chart of Gr(m + n, n) (the
graphs of Phi / sqrt(lam)); and in the metric of that Grassmannian the gradient flow of the value is linear, Phi(t) =
exp(Y Y^T t) Phi(0).
"""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from pymanopt.manifolds.manifold import Manifold

from manifolds.arguments import (
    check_array,
    check_arrays,
    check_finite,
    check_integer,
    check_positive,
    check_stack,
    generator,
    number,
    passes,
    precision,
)
from manifolds.curvature import sectional_curvature
from manifolds.geodesics import invert_stretch
from manifolds.graphs import Graph
from manifolds.means import frechet_mean
from manifolds.paths import ChartError, Path, carry, far_apart, path, polar_step
from manifolds.subspaces import norm
from manifolds.value import ValueForms, value_forms

__all__ = ["RegularizedGrassmann"]

METHODS = ("linear", "second-order", "polar", "exponential")


class RegularizedGrassmann(Manifold):
    """Matrices Phi (m, n) of any rank with the metric pulled back from Gr(m + n, n) by Phi -> span [Phi; sqrt(lam) I].

    The project's own definition, see the module's text for why this one.
    g(D, E) = lam <(Phi Phi^T + lam I)^-1 D (Phi^T Phi + lam I)^-1, E>, tangent vectors are all (m, n) matrices. As
    lam -> 0 metric and distance tend to those of Gr(m, n) at full rank. The manifold is an open, dense, incomplete
    part of Gr(m + n, n): geodesics may reach infinity in finite time, see `exp`. Right multiplication by an
    orthogonal Q (n, n) and left multiplication by an orthogonal (m, m) matrix are isometries; Phi and Phi Q are
    different points.

    Every operation costs O(m n^2); no (m, m) matrix is formed, except by `projector`, whose answer it is. Numpy
    arrays and torch tensors, float32 and float64, are answered in kind; not for
    automatic differentiation, because an SVD has no derivative where singular values repeat.

    Args:
        m: rows.
        n: columns; n > m is allowed.
        regularization: lam > 0, in units of Phi squared.

    Raises:
        ValueError: a number below 1, or lam not positive and finite.
        TypeError: m or n not integers, lam not a number.
    """

    def __init__(self, m: int, n: int, regularization: float):
        self.m, self.n = check_integer(m, "m"), check_integer(n, "n")
        self.regularization = check_positive(regularization, "regularization")
        self.shape = (self.m, self.n)
        super().__init__(f"Regularised Grassmann manifold of {m} x {n} matrices, lam = {self.regularization:g}", m * n)

    def __repr__(self) -> str:
        return f"RegularizedGrassmann({self.m}, {self.n}, {self.regularization!r})"

    @property
    def typical_dist(self) -> float:
        """sqrt(n), the scale that trust regions start from."""
        return math.sqrt(self.n)

    # Metric

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> Any:
        """The product lam <(Phi Phi^T + lam I)^-1 D (Phi^T Phi + lam I)^-1, E>, as the product of the lifts to Gr(m +
        n, n).
        """
        graph = self._graph(point, tangent_vector_a=tangent_vector_a, tangent_vector_b=tangent_vector_b)
        return array_namespace(point).sum(graph.lift(tangent_vector_a) * graph.lift(tangent_vector_b))

    def norm(self, point: Any, tangent_vector: Any) -> Any:
        """sqrt(g(D, D)), in radians."""
        return norm(self._graph(point, tangent_vector=tangent_vector).lift(tangent_vector))

    def dist(self, point_a: Any, point_b: Any) -> Any:
        """Distance in Gr(m + n, n) of the two subspaces, at most pi/2 sqrt(n), with full relative accuracy.

        The shortest geodesic of Gr(m + n, n) may lead through infinity; `chart_exit_time` of `log` tells.
        """
        first, second = self._graph(point_a), self._graph(point_b)
        xp, outside = array_namespace(point_a, point_b), first.lift(point_b - point_a, second)
        gram = outside.mT @ outside
        if number(xp.sum(xp.linalg.diagonal(gram))) <= precision(gram):
            return norm(outside)
        sines = xp.linalg.eigvalsh(gram).clip(0.0, 1.0)
        cosines = xp.linalg.svdvals(first.cosines(second)).clip(0.0, 1.0)
        return norm(xp.where(sines <= 0.5, xp.asin(xp.sqrt(sines)), xp.acos(cosines)))

    def sectional_curvature(self, point: Any, u: Any, v: Any) -> Any:
        """Curvature of the plane of two tangent vectors, between 0 and 2: that of their lifts in Gr(m + n, n)."""
        graph = self._graph(point, u=u, v=v)
        return sectional_curvature(graph.lift(u), graph.lift(v))

    # Tangent spaces

    def projection(self, point: Any, vector: Any) -> Any:
        """A copy: every (m, n) matrix is a tangent vector."""
        check_arrays(self.shape, "point vector", point, vector)
        return 1.0 * vector

    to_tangent_space = projection

    def zero_vector(self, point: Any) -> Any:
        """The zero matrix."""
        check_arrays(self.shape, "point", point)
        return array_namespace(point).zeros_like(point)

    def euclidean_to_riemannian_gradient(self, point: Any, euclidean_gradient: Any) -> Any:
        """(1 / lam) S E G with S = Phi Phi^T + lam I, G = Phi^T Phi + lam I; a sum of like signs, nothing is
        inverted.
        """
        check_arrays(self.shape, "point euclidean_gradient", point, euclidean_gradient)
        F = self._scaled(point)
        return self.regularization * _left(F, _right(F, euclidean_gradient))

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        """(1 / lam) (S H G + Phi D^T E G + S E D^T Phi), E the Euclidean gradient, H the Euclidean Hessian along D.

        This is d/dt grad f(Phi + t D) + Gamma(D, grad f) with the Christoffel term Gamma(A, B) = -(A K(B) + B K(A)),
        K(A) = G^-1 Phi^T A, whose inverses cancel.
        """
        check_arrays(
            self.shape,
            "point euclidean_gradient euclidean_hessian tangent_vector",
            point,
            euclidean_gradient,
            euclidean_hessian,
            tangent_vector,
        )
        F, turned = self._scaled(point), tangent_vector.mT / math.sqrt(self.regularization)
        curved = _left(F, _right(F, euclidean_hessian) + euclidean_gradient @ (turned @ F))
        return self.regularization * (curved + F @ (turned @ _right(F, euclidean_gradient)))

    # Curves

    def exp(self, point: Any, tangent_vector: Any) -> Any:
        """End of the geodesic Phi(t) from `point` along D at t = 1.

        Raises:
            ChartError: the geodesic leaves the chart (Phi becomes infinite) at its attribute `time` in (0, 1].
            ValueError: wrong shape, NaN or infinite entries.
        """
        curve = self._path(point, tangent_vector)
        time = curve.exit_time()
        if time <= 1.0:
            raise ChartError(
                f"the geodesic leaves the chart at time {time:.6g} of 1, where Phi is infinite: take a shorter vector",
                time,
            )
        return curve.at(point, 1.0)

    def chart_exit_time(self, point: Any, tangent_vector: Any) -> float:
        """First t in (0, 1] at which the geodesic along D leaves the chart, or infinity."""
        return self._path(point, tangent_vector).exit_time()

    def log(self, point_a: Any, point_b: Any) -> Any:
        """Initial velocity at the first point of the shortest geodesic of Gr(m + n, n) to the second.

        It is (Phi_b - Phi_a) times an (n, n) matrix. The geodesic may leave the chart on its way, which
        `chart_exit_time` tells and `exp` raises. A right angle between the subspaces is a `CutLocusWarning`.
        """
        first, second = self._graph(point_a), self._graph(point_b)
        small = invert_stretch(first.cosines(second), "exponential")
        return (point_b - point_a) @ ((second.inverse_root() @ small * first.rho) @ first.V.mT)

    def retraction(self, point: Any, tangent_vector: Any, method: str = "linear") -> Any:
        """A retraction.

        Args:
            point: Phi.
            tangent_vector: D.
            method: "linear": Phi + D, of first order; with K = (Phi^T Phi + lam I)^-1 Phi^T D, "second-order":
                Phi + D + D K; "polar": Phi + D (I - K)^-1, the polar retraction of Gr(m + n, n), of second order too;
                "exponential": `exp`. The first two never leave the chart.

        Raises:
            ChartError: "polar" or "exponential" leaves the chart.
            ValueError: an unknown method, wrong shape.
        """
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        check_arrays(self.shape, "point tangent_vector", point, tangent_vector)
        if method == "linear":
            return point + tangent_vector
        if method == "exponential":
            return self.exp(point, tangent_vector)
        K = self._graph(point).solve(point.mT @ tangent_vector)
        if method == "second-order":
            return point + tangent_vector + tangent_vector @ K
        return point + tangent_vector @ polar_step(K)

    def transport(self, point_a: Any, point_b: Any, tangent_vector_a: Any) -> Any:
        """The same matrix at the second point: the differential of the linear retraction."""
        check_arrays(self.shape, "point_a point_b tangent_vector_a", point_a, point_b, tangent_vector_a)
        return 1.0 * tangent_vector_a

    def parallel_transport(self, start: Any, direction: Any, vector: Any) -> Any:
        """`vector` carried parallel along exp(start, t direction), 0 <= t <= 1, through Gr(m + n, n).

        Raises:
            ChartError: the geodesic leaves the chart.
        """
        graph = self._graph(start, direction=direction, vector=vector)
        return carry(graph, direction, vector, self.exp(start, direction))

    # Means

    def pair_mean(self, point_a: Any, point_b: Any) -> Any:
        """Midpoint of the shortest geodesic between two points.

        Raises:
            ChartError: the way to the midpoint, or the midpoint itself, is at infinity of the chart.
        """
        with far_apart("point_a and point_b"):
            return self.exp(point_a, 0.5 * self.log(point_a, point_b))

    def mean(self, points: Any) -> Any:
        """Frechet mean of a stack of points (count, m, n), unique if they lie in a ball of radius pi/4.

        Raises:
            ChartError: the points are so far apart that the way to their mean leaves the chart.
        """
        check_stack(points, self.shape)
        with far_apart("points"):
            return frechet_mean(self, points)

    # Least squares

    def lift(self, point: Any) -> Any:
        """Orthonormal basis (m + n, n) of span [Phi; sqrt(lam) I]: [Phi; sqrt(lam) I] (Phi^T Phi + lam I)^(-1/2)."""
        graph = self._graph(point)
        return graph.basis() @ graph.V.mT

    def projector(self, point: Any) -> Any:
        """The regularised projector P = Phi (Phi^T Phi + lam I)^-1 Phi^T as a dense (m, m) matrix; spectrum in [0,
        1).
        """
        check_arrays(self.shape, "point", point)
        xp = array_namespace(point)
        return self.apply_projector(point, xp.eye(self.m, dtype=point.dtype, device=device(point)))

    def apply_projector(self, point: Any, vectors: Any) -> Any:
        """P times an (m, k) matrix, O(m n k) after the factorisation."""
        graph, columns = self._graph(point), tuple(getattr(vectors, "shape", ()))[1:2]
        check_array(vectors, (self.m, *(columns or (1,))), "vectors")
        return graph.project(vectors)

    def value_forms(self, point: Any, targets: Any) -> ValueForms:
        """The value f(Phi) for targets Y (m, k) in its four equal forms, each computed from its own formula."""
        check_finite(targets, (self.m, *tuple(getattr(targets, "shape", ()))[1:2]), "targets")
        targets = targets if targets.ndim == 2 else targets[:, None]
        return value_forms(self._graph(point), point, targets)

    # Checks and random points

    def check_point(self, point: Any) -> None:
        """Raise unless `point` is a finite real (m, n) array."""
        check_finite(point, self.shape, "point")

    def check_tangent_vector(self, point: Any, tangent_vector: Any) -> None:
        """Raise unless both are finite real (m, n) arrays."""
        check_finite(point, self.shape, "point")
        check_finite(tangent_vector, self.shape, "tangent_vector")

    def is_point(self, x: Any) -> bool:
        """True for a finite real (m, n) array."""
        return passes(self.check_point, x)

    def is_tangent(self, point: Any, v: Any) -> bool:
        """True for two finite real (m, n) arrays."""
        return passes(self.check_tangent_vector, point, v)

    def random_point(self, rng: Any = None) -> np.ndarray:
        """Gaussian entries of standard deviation sqrt(lam) / (sqrt(m) + sqrt(n)), so that |Phi|_2 is about sqrt(lam).

        Shortest geodesics between such points stay in the chart.

        Args:
            rng: numpy Generator, a seed, or None for fresh entropy.
        """
        scale = math.sqrt(self.regularization) / (math.sqrt(self.m) + math.sqrt(self.n))
        return scale * generator(rng, 0).standard_normal(self.shape)

    def random_tangent_vector(self, point: Any, rng: Any = None) -> Any:
        """A Gaussian matrix scaled to length 1 in the metric at `point`, in kind."""
        graph, xp = self._graph(point), array_namespace(point)
        draw = generator(rng, 1).standard_normal(self.shape)
        vector = xp.asarray(draw, dtype=point.dtype, device=device(point))
        return vector / norm(graph.lift(vector))

    def _graph(self, point: Any, **vectors: Any) -> Graph:
        """The factorised point, after the checks of it and of the vectors."""
        check_finite(point, self.shape, "point")
        check_arrays(self.shape, " ".join(["point", *vectors]), point, *vectors.values())
        return Graph.of(point, self.regularization)

    def _path(self, point: Any, tangent_vector: Any) -> Path:
        return path(self._graph(point, tangent_vector=tangent_vector), tangent_vector)

    def _scaled(self, point: Any) -> Any:
        """F = Phi / sqrt(lam), of moderate size however small or large lam is."""
        return point / math.sqrt(self.regularization)


def _left(F: Any, matrix: Any) -> Any:
    """(F F^T + I) times an (m, n) matrix."""
    return F @ (F.mT @ matrix) + matrix


def _right(F: Any, matrix: Any) -> Any:
    """An (m, n) matrix times (F^T F + I)."""
    return matrix @ (F.mT @ F) + matrix

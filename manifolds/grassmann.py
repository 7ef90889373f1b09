"""The Grassmann manifold Gr(m, n) of n-dimensional subspaces of R^m, as a pymanopt manifold."""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from pymanopt.manifolds.manifold import Manifold

from manifolds.arguments import check_arrays, check_finite, check_integer, check_stack, generator, passes
from manifolds.curvature import sectional_curvature
from manifolds.geodesics import advance, invert, parallel_transport, projection_transport
from manifolds.means import frechet_mean
from manifolds.points import check_horizontal, check_orthonormal, range_of_projector
from manifolds.subspaces import geodesic_distance, norm, polar_factor, polish, project_out_once

__all__ = ["Grassmann"]


class Grassmann(Manifold):
    """Subspaces of dimension n of R^m, or k-tuples of them, with the metric tr(D^T E).

    A point is stored as an orthonormal basis X (m, n); X and X Q with Q orthogonal are the same point. A tangent
    vector is stored as its horizontal lift D (m, n), X^T D = 0, at the representative X; at X Q the same vector is D
    Q. Every operation is invariant or equivariant under that change, and one that returns a vector at a point returns
    it at the very representative that was given or returned. With k > 1 arrays are (k, m, n) and the metric is the
    sum over the factors.

    Numpy arrays and torch tensors, float32 and float64, are answered in kind. Shapes and types are checked
    everywhere; that a point is orthonormal and a vector tangent is not (`check_point` and `check_tangent_vector` do
    it), because it would cost as much as the operation.

    Args:
        m: dimension of the ambient space.
        n: dimension of the subspaces, 1 <= n <= m.
        k: number of factors.

    Raises:
        ValueError: n > m, or a number below 1.
        TypeError: not integers.

    Sources: A. Edelman, T. Arias, S. Smith, The geometry of algorithms with orthogonality constraints, 1998;
    T. Bendokat, R. Zimmermann, P.-A. Absil, A Grassmann manifold handbook, 2024.
    """

    injectivity_radius = 0.5 * math.pi
    """Radius of the largest ball in which geodesics from its centre are unique: pi/2 for every point."""

    def __init__(self, m: int, n: int, *, k: int = 1):
        m, n, k = check_integer(m, "m"), check_integer(n, "n"), check_integer(k, "k")
        if n > m:
            raise ValueError(f"n must be at most m = {m}, got {n}: R^{m} has no subspace of dimension {n}")
        self.m, self.n, self.k = m, n, k
        self.shape = (m, n) if k == 1 else (k, m, n)
        name = f"Grassmann manifold Gr({m}, {n})"
        super().__init__(name if k == 1 else f"Product of {k} copies of the {name}", k * n * (m - n))

    def __repr__(self) -> str:
        return f"Grassmann({self.m}, {self.n}{'' if self.k == 1 else f', k={self.k}'})"

    @property
    def typical_dist(self) -> float:
        """sqrt(n k), the scale that trust regions start from; the diameter is pi/2 sqrt(min(n, m - n) k)."""
        return math.sqrt(self.n * self.k)

    # Metric

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> Any:
        """tr(D^T E), summed over the factors."""
        check_arrays(self.shape, "tangent_vector_a tangent_vector_b", tangent_vector_a, tangent_vector_b)
        return tangent_vector_a.reshape(-1).dot(tangent_vector_b.reshape(-1))

    def norm(self, point: Any, tangent_vector: Any) -> Any:
        """Length of a tangent vector, sqrt(tr(D^T D)), safe from overflow and underflow."""
        check_arrays(self.shape, "tangent_vector", tangent_vector)
        return norm(tangent_vector)

    def dist(self, point_a: Any, point_b: Any) -> Any:
        """Geodesic distance sqrt(sum theta^2) over the principal angles theta; exactly 0 for equal arrays.

        Raises:
            ValueError: wrong shape, NaN or infinite entries.
        """
        check_arrays(self.shape, "point_a point_b", point_a, point_b)
        return geodesic_distance(point_a, point_b)

    def sectional_curvature(self, point: Any, u: Any, v: Any) -> Any:
        """Curvature of the plane of two tangent vectors, between 0 and 2.

        Raises:
            ValueError: wrong shape, or u and v linearly dependent to rounding.
        """
        check_arrays(self.shape, "point u v", point, u, v)
        return sectional_curvature(u, v)

    # Tangent spaces

    def projection(self, point: Any, vector: Any) -> Any:
        """Orthogonal projection of an (m, n) matrix onto the tangent space: (I - X X^T) Z."""
        check_arrays(self.shape, "point vector", point, vector)
        return project_out_once(point, vector)

    to_tangent_space = projection

    def zero_vector(self, point: Any) -> Any:
        """The zero tangent vector."""
        check_arrays(self.shape, "point", point)
        return array_namespace(point).zeros_like(point)

    def euclidean_to_riemannian_gradient(self, point: Any, euclidean_gradient: Any) -> Any:
        """(I - X X^T) G."""
        check_arrays(self.shape, "point euclidean_gradient", point, euclidean_gradient)
        return project_out_once(point, euclidean_gradient)

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        """(I - X X^T) H - D (X^T G), with H the Euclidean Hessian along D and G the Euclidean gradient.

        Source: Edelman, Arias, Smith (1998), equation 2.71.
        """
        check_arrays(
            self.shape,
            "point euclidean_gradient euclidean_hessian tangent_vector",
            point,
            euclidean_gradient,
            euclidean_hessian,
            tangent_vector,
        )
        hessian = project_out_once(point, euclidean_hessian)
        hessian -= tangent_vector @ (point.mT @ euclidean_gradient)
        return hessian

    # Curves

    def exp(self, point: Any, tangent_vector: Any) -> Any:
        """End of the geodesic X V cos(sigma) V^T + U sin(sigma) V^T, D = U diag(sigma) V^T, aligned with X.

        Raises:
            ValueError: wrong shape, NaN or infinite entries.
        """
        check_arrays(self.shape, "point tangent_vector", point, tangent_vector)
        return advance(point, tangent_vector, "exponential")

    def log(self, point_a: Any, point_b: Any) -> Any:
        """Shortest tangent vector at the first point whose geodesic ends at the second.

        Accurate up to the cut locus. There, with a principal angle of pi/2 to rounding, it is one of several such
        vectors, and a `CutLocusWarning` says so; exp(log) still arrives.

        Raises:
            ValueError: wrong shape, NaN or infinite entries.
        """
        check_arrays(self.shape, "point_a point_b", point_a, point_b)
        return invert(point_a, point_b, "exponential")

    def retraction(self, point: Any, tangent_vector: Any, method: str = "polar") -> Any:
        """A retraction; all four agree with `exp` to second order.

        Args:
            point: X.
            tangent_vector: D.
            method: "polar": the polar factor of X + D; "qr": its QR factor with positive diagonal, the same subspace,
                not aligned with X; "cayley": (I - W/2)^-1 (I + W/2) X with W = D X^T - X D^T; "exponential": `exp`.

        Raises:
            ValueError: an unknown method, wrong shape, NaN or infinite entries.
        """
        check_arrays(self.shape, "point tangent_vector", point, tangent_vector)
        return advance(point, tangent_vector, method)

    def inverse_retraction(self, start: Any, end: Any, method: str = "polar") -> Any:
        """The tangent vector at `start` that the retraction of this name takes to the subspace of `end`.

        Raises:
            ValueError: an unknown method, wrong shape, NaN, or a principal angle of pi/2, which only "cayley" and
                "exponential" reach.
        """
        check_arrays(self.shape, "start end", start, end)
        return invert(start, end, method)

    def transport(self, point_a: Any, point_b: Any, tangent_vector_a: Any) -> Any:
        """Projection transport to the tangent space at the second point: (I - Y Y^T) D M.

        M, the orthogonal polar factor of X^T Y, turns D to the representative `point_b`; it is the identity if
        `point_b` came from `exp` or from the polar or Cayley retraction.
        """
        check_arrays(self.shape, "point_a point_b tangent_vector_a", point_a, point_b, tangent_vector_a)
        return projection_transport(point_a, point_b, tangent_vector_a)

    def parallel_transport(self, start: Any, direction: Any, vector: Any) -> Any:
        """`vector` carried parallel along exp(start, t direction), 0 <= t <= 1, to the representative that `exp`
        returns.

        Source: Edelman, Arias, Smith (1998), theorem 2.4.
        """
        check_arrays(self.shape, "start direction vector", start, direction, vector)
        return parallel_transport(start, direction, vector)

    # Means

    def pair_mean(self, point_a: Any, point_b: Any) -> Any:
        """Midpoint of the shortest geodesic between two points."""
        return self.exp(point_a, 0.5 * self.log(point_a, point_b))

    def mean(self, points: Any) -> Any:
        """Frechet mean: the minimiser of the sum of squared distances to a stack of points (count, m, n).

        It is unique if the points lie in a ball of radius pi/4; elsewhere the answer is a stationary point.

        Raises:
            ValueError: wrong shape, no points, or entries that are not orthonormal and finite.

        Source: H. Karcher, Riemannian center of mass and mollifier smoothing, 1977.
        """
        check_stack(points, self.shape)
        for index in range(points.shape[0]):
            self.check_point(points[index], f"points[{index}]")
        return frechet_mean(self, points)

    # Representations and checks

    def to_projector(self, point: Any) -> Any:
        """The orthogonal projector X X^T (m, m), the same for every representative."""
        self.check_point(point)
        return point @ point.mT

    def from_projector(self, projector: Any) -> Any:
        """A representative of the range of an orthogonal projector (m, m).

        Raises:
            ValueError: not symmetric, not idempotent or not of rank n, to the tolerance of `check_point`.
        """
        check_finite(projector, (*self.shape[:-1], self.m), "projector")
        return range_of_projector(projector, self.n)

    def check_point(self, point: Any, name: str = "point") -> None:
        """Raise unless `point` is a finite matrix of the right shape with orthonormal columns.

        The tolerance of ||X^T X - I||_F is eps^(2/3) sqrt(n): 4e-11 sqrt(n) in float64.

        Raises:
            TypeError: not a real floating array.
            ValueError: wrong shape, NaN, infinity or columns that are not orthonormal.
        """
        check_finite(point, self.shape, name)
        check_orthonormal(point, name)

    def check_tangent_vector(self, point: Any, tangent_vector: Any) -> None:
        """Raise unless `tangent_vector` is finite, of the right shape and orthogonal to `point`.

        The tolerance of ||X^T D||_F is eps^(2/3) ||D||_F.

        Raises:
            TypeError: not a real floating array.
            ValueError: `point` is no point, wrong shape, NaN, infinity or a vector that is not tangent.
        """
        self.check_point(point)
        check_finite(tangent_vector, self.shape, "tangent_vector")
        check_horizontal(point, tangent_vector)

    def is_point(self, x: Any) -> bool:
        """True where `check_point` finds nothing wrong."""
        return passes(self.check_point, x)

    def is_tangent(self, point: Any, v: Any) -> bool:
        """True where `check_tangent_vector` finds nothing wrong."""
        return passes(self.check_tangent_vector, point, v)

    # Random points and vectors

    def random_point(self, rng: Any = None) -> np.ndarray:
        """A point from the uniform (rotation-invariant) distribution, a float64 numpy array.

        Args:
            rng: numpy Generator, a seed, or None for fresh entropy.
        """
        return polish(polar_factor(generator(rng, 0).standard_normal(self.shape)))

    def random_tangent_vector(self, point: Any, rng: Any = None) -> Any:
        """A tangent vector of length 1 in a uniformly distributed direction (0 where the manifold is one point), in
        kind.

        Args:
            point: X.
            rng: numpy Generator, a seed, or None for fresh entropy.
        """
        check_arrays(self.shape, "point", point)
        xp = array_namespace(point)
        draw = generator(rng, 1).standard_normal(self.shape)
        vector = xp.asarray(draw, dtype=point.dtype, device=device(point))
        if self.dim == 0:
            return 0.0 * vector
        vector = project_out_once(point, vector)
        return vector / norm(vector)

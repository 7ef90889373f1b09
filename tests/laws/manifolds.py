"""Laws of a Riemannian manifold with pymanopt's method names: each raises AssertionError where it does not hold.

The tolerance rule. With eps the rounding unit of the arrays, kappa the condition number of the representation (1 for
orthonormal bases, 1 + ||Phi||^2 / lam for the regularised chart) and s the size of what is compared, an algebraic law
is held to
    SAFETY eps kappa sqrt(entries) s,
and a law with a difference quotient of step h to its truncation, stated in the law. Vectors have unit norm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.laws.costs import as_kind, invariant_cost, transposed

SAFETY = 10.0
STEP = 1e-4  # of central differences in float64: truncation 1e-8, rounding 1e-12 (first), 1e-8 (second derivatives)


@dataclass(frozen=True)
class Sample:
    """A point with two tangent vectors of unit norm (zero on a manifold of dimension zero)."""

    manifold: Any
    point: Any
    u: Any
    v: Any
    ambient: Any  # an array of the point's shape, not tangent
    kappa: float = 1.0
    distance: float | None = None  # accuracy of the manifold's own dist, where it is not eps
    scale: float = 0.7  # length of the vectors that exp, log and the retractions are tried on; not 1, its own square
    linear: bool = False  # the cost may have a linear term: points are not classes of bases

    @property
    def eps(self) -> float:
        return 2.0**-23 if "float32" in str(self.point.dtype) else 2.0**-52

    @property
    def rounding(self) -> float:
        return SAFETY * self.eps * self.kappa * np.sqrt(self.ambient.shape[-1] * self.ambient.shape[-2])


def norm(array) -> float:
    return float(np.linalg.norm(np.asarray(array, dtype=float).ravel()))


def close(actual, expected, bound: float, what: str) -> None:
    """||actual - expected|| <= bound, of equal shapes."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    difference = norm(actual - expected)
    assert difference <= bound, f"{what}: error {difference:.3e} > {bound:.3e}, size {norm(expected):.3e}"


def near(s: Sample, x, y, what: str, bound: float | None = None) -> None:
    """dist(x, y) within rounding, or within the accuracy of the manifold's dist."""
    bound = max(s.rounding, s.distance or 0.0) if bound is None else bound
    found = float(s.manifold.dist(x, y))
    assert found <= bound, f"{what}: distance {found:.3e} > {bound:.3e}"


def vectors_close(s: Sample, point, actual, expected, bound: float, what: str) -> None:
    """||actual - expected|| <= bound in the metric at the point."""
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}"
    difference = float(s.manifold.norm(point, actual - expected))
    assert difference <= bound, f"{what}: error {difference:.3e} > {bound:.3e}"


def tangent(s: Sample, point, vector, what: str) -> None:
    vectors_close(s, point, s.manifold.projection(point, vector), vector, s.rounding, f"{what}: tangency")


def kind_law(s: Sample) -> None:
    """Answers have the kind, type and shape of the point."""
    M, x, u = s.manifold, s.point, s.u
    for name, found in {
        "projection": M.projection(x, s.ambient),
        "retraction": M.retraction(x, u),
        "transport": M.transport(x, M.retraction(x, u), u),
        "gradient": M.euclidean_to_riemannian_gradient(x, s.ambient),
        "Hessian": M.euclidean_to_riemannian_hessian(x, s.ambient, s.ambient, u),
    }.items():
        assert type(found) is type(x) and found.dtype == x.dtype and found.shape == x.shape, name


def metric_law(s: Sample) -> None:
    """Symmetric, bilinear, positive definite, and the square of the norm."""
    M, x, u, v = s.manifold, s.point, s.u, s.v
    close(M.inner_product(x, u, v), M.inner_product(x, v, u), s.rounding, "symmetry")
    mixed = 2 * float(M.inner_product(x, u, v)) - 3 * float(M.inner_product(x, v, v))
    close(M.inner_product(x, 2 * u - 3 * v, v), mixed, 10 * s.rounding, "linearity")
    for w in (u, v, u - v):
        square = float(M.inner_product(x, w, w))
        close(float(M.norm(x, w)) ** 2, square, s.rounding, "norm")
        assert square > 0 or norm(w) == 0, f"positive: {square:.3e}"
    assert float(M.norm(x, 0 * u)) == 0.0, "norm of zero"


def projection_law(s: Sample) -> None:
    """Onto the tangent space, identity there, linear."""
    M, x, a = s.manifold, s.point, s.ambient
    found = M.projection(x, a)
    size = float(M.norm(x, found)) + 1.0
    vectors_close(s, x, M.projection(x, found), found, s.rounding * size, "idempotent")
    for w in (s.u, s.v):
        vectors_close(s, x, M.projection(x, w), w, s.rounding, "identity on tangent vectors")
    both = M.projection(x, a) + 2 * s.u
    vectors_close(s, x, M.projection(x, a + 2 * s.u), both, s.rounding * size, "linear")
    vectors_close(s, x, M.to_tangent_space(x, s.u), s.u, s.rounding, "to_tangent_space")


def orthogonal_projection_law(s: Sample) -> None:
    """What the projection removes is orthogonal, in the Frobenius product, to the tangent vectors."""
    removed = s.ambient - s.manifold.projection(s.point, s.ambient)
    for w in (s.u, s.v):
        inside = float((removed * w).sum())
        assert abs(inside) <= s.rounding * norm(s.ambient) * norm(w), f"orthogonality: {inside:.3e}"


def dimension_law(s: Sample) -> None:
    """The trace of the projection, a linear map that is its own square, is the dimension of the manifold."""
    trace, shape = 0.0, tuple(s.ambient.shape)
    for index in np.ndindex(shape):
        unit = np.zeros(shape)
        unit[index] = 1.0
        trace += float(s.manifold.projection(s.point, as_kind(unit, s.point))[index])
    close(trace, s.manifold.dim, s.rounding * max(1, s.manifold.dim), "dimension")


def zero_law(s: Sample) -> None:
    """Nothing moves along the zero vector."""
    M, x = s.manifold, s.point
    zero = M.zero_vector(x)
    assert zero.shape == x.shape and norm(zero) == 0.0
    near(s, M.retraction(x, zero), x, "R(0)")
    vectors_close(s, x, M.transport(x, x, s.u), s.u, s.rounding, "transport to the same point")


def exp_log_law(s: Sample) -> None:
    """log inverts exp, exp inverts log, and dist is the length."""
    M, x, w = s.manifold, s.point, s.scale * s.u
    y = M.exp(x, w)
    bound = max(s.rounding, s.distance or 0.0)
    near(s, M.exp(x, M.zero_vector(x)), x, "exp(0)")
    vectors_close(s, x, M.log(x, y), w, bound, "log(exp)")
    near(s, M.exp(x, M.log(x, y)), y, "exp(log)")
    close(M.dist(x, y), M.norm(x, w), bound, "dist")
    close(M.dist(y, x), M.dist(x, y), bound, "symmetry of dist")
    tangent(s, x, M.log(x, y), "log")


def near_law(s: Sample) -> None:
    """dist of near points is as accurate as that of far ones."""
    M, x = s.manifold, s.point
    for t in (1e-2, 1e-5, 1e-8):
        w = t * s.scale * s.u
        close(M.dist(x, M.exp(x, w)), M.norm(x, w), max(s.rounding, s.distance or 0.0), f"dist at {t:g}")


def geodesic_law(s: Sample) -> None:
    """exp runs at constant speed, and its end seen from its middle continues it."""
    M, x, w = s.manifold, s.point, s.scale * s.u
    middle, end = M.exp(x, 0.5 * w), M.exp(x, w)
    bound = max(s.rounding, s.distance or 0.0)
    close(M.dist(middle, end), 0.5 * float(M.norm(x, w)), bound, "speed")
    near(s, M.exp(middle, -M.log(middle, x)), end, "continuation", 2 * bound)


def triangle_law(s: Sample) -> None:
    M, x = s.manifold, s.point
    y, z = M.exp(x, s.scale * s.u), M.exp(x, s.scale * s.v)
    sides = [float(M.dist(*pair)) for pair in ((x, y), (y, z), (x, z))]
    assert sides[2] <= sides[0] + sides[1] + s.rounding, f"triangle inequality: {sides}"


def retraction_law(s: Sample, order: int = 1, retraction: Callable | None = None) -> None:
    """dist(R(t u), exp(t u)) = O(t^(order + 1)): halving t divides it by 2^(order + 1) within 30%."""
    M, x = s.manifold, s.point
    R = retraction or M.retraction
    times = s.scale * np.array([0.1, 0.05])
    errors = [float(M.dist(R(x, t * s.u), M.exp(x, t * s.u))) for t in times.tolist()]
    floor = max(10 * s.rounding, 10 * (s.distance or 0.0))
    assert errors[1] <= max(errors[0] * 1.3 / 2 ** (order + 1), floor), f"order {order}: errors {errors}"
    largest = 2 * (times[0] * np.sqrt(s.kappa)) ** (order + 1)
    assert errors[0] <= max(largest, floor), f"order {order}: {errors[0]:.3e}"


def transport_law(s: Sample) -> None:
    """Tangent at the end, linear, and near the vector for near points: first order in the way."""
    M, x, u, v = s.manifold, s.point, s.scale * s.u, s.v
    y = M.retraction(x, u)
    moved = M.transport(x, y, v)
    tangent(s, y, moved, "transport")
    both = 2 * M.transport(x, y, v) - 3 * M.transport(x, y, s.u)
    vectors_close(s, y, M.transport(x, y, 2 * v - 3 * s.u), both, 10 * s.rounding, "linear")


def parallel_transport_law(s: Sample) -> None:
    """Tangent, linear isometry; carries the velocity of the geodesic; and back again is the identity."""
    M, x, w = s.manifold, s.point, s.scale * s.u
    y = M.exp(x, w)
    moved = [M.parallel_transport(x, w, e) for e in (s.u, s.v)]
    for e in moved:
        tangent(s, y, e, "parallel transport")
    for i, a in enumerate((s.u, s.v)):
        for j, b in enumerate((s.u, s.v)):
            products = M.inner_product(y, moved[i], moved[j]), M.inner_product(x, a, b)
            close(*products, s.rounding, "isometry")
    vectors_close(s, y, s.scale * moved[0], -M.log(y, x), s.rounding, "velocity")
    again = M.parallel_transport(x, w, 2 * s.u - s.v)
    vectors_close(s, y, again, 2 * moved[0] - moved[1], 3 * s.rounding, "linear")


def representative_law(s: Sample) -> None:
    """Another basis y Q of the end: the same distance and logarithm, and transported vectors turned by Q."""
    M, x = s.manifold, s.point
    y = M.exp(x, s.scale * s.u)
    n = x.shape[-1]
    Q = as_kind(np.linalg.qr(np.random.default_rng(5).standard_normal((n, n)))[0], x)
    near(s, y @ Q, y, "the same span")
    vectors_close(s, x, M.log(x, y @ Q), M.log(x, y), s.rounding, "log to another basis")
    vectors_close(s, y @ Q, M.transport(x, y @ Q, s.v), M.transport(x, y, s.v) @ Q, s.rounding, "transport")
    vectors_close(s, x @ Q, M.log(x @ Q, y), M.log(x, y) @ Q, s.rounding, "log from another basis")


def curvature_law(s: Sample) -> None:
    """The side opposite the corner x of a thin triangle is shorter than in the plane by t^4 K |u ^ v|^2 / 3, squared.

    For t = 1e-2 the next term is smaller by t^2 or so, and the rounding of the side's square is eps t^2.
    """
    M, x, t = s.manifold, s.point, 1e-2 / np.sqrt(s.kappa)
    side = float(M.dist(M.exp(x, t * s.u), M.exp(x, t * s.v)))
    defect = t**2 * float(M.norm(x, s.u - s.v)) ** 2 - side**2
    plane = 1.0 - float(M.inner_product(x, s.u, s.v)) ** 2
    close(3 * defect / (t**4 * plane), M.sectional_curvature(x, s.u, s.v), 1e-2, "curvature")


def gradient_law(s: Sample) -> None:
    """<grad, u> = d/dt f(R(t u)): central difference, truncation h^2 times a third derivative of size 1e2 at most."""
    M, x, f = s.manifold, s.point, invariant_cost(s.point, s.u, s.linear)
    grad = M.euclidean_to_riemannian_gradient(x, f.gradient(x))
    size = abs(f.value(x)) + float(M.norm(x, grad))
    tangent_size = s.rounding * size
    vectors_close(s, x, M.projection(x, grad), grad, tangent_size, "gradient: tangency")
    for w in (s.u, s.v):
        slope = (f.value(M.retraction(x, STEP * w)) - f.value(M.retraction(x, -STEP * w))) / (2 * STEP)
        close(M.inner_product(x, grad, w), slope, 1e-6 * size, "gradient")


def hessian_law(s: Sample) -> None:
    """<Hess u, u> = d^2/dt^2 f(exp(t u)), Hess is symmetric, linear and tangent."""
    M, x, f = s.manifold, s.point, invariant_cost(s.point, s.u, s.linear)
    Hu, Hv = (M.euclidean_to_riemannian_hessian(x, f.gradient(x), f.hessian(x, w), w) for w in (s.u, s.v))
    size = abs(f.value(x)) + max(float(M.norm(x, w)) for w in (Hu, Hv))
    vectors_close(s, x, M.projection(x, Hu), Hu, s.rounding * size, "Hessian: tangency")
    close(M.inner_product(x, Hu, s.v), M.inner_product(x, Hv, s.u), 10 * s.rounding * size, "Hessian: symmetry")
    for w, Hw in ((s.u, Hu), (s.v, Hv)):
        ahead, here, behind = (f.value(M.exp(x, t * w)) for t in (STEP, 0.0, -STEP))
        second = (ahead - 2 * here + behind) / STEP**2
        close(M.inner_product(x, Hw, w), second, 1e-5 * size, "Hessian")


def connection_law(s: Sample) -> None:
    """Hess u is the derivative of the gradient carried back by parallel transport."""
    M, x, f, h = s.manifold, s.point, invariant_cost(s.point, s.u, s.linear), STEP
    change = 0 * x
    for sign in (1.0, -1.0):
        y = M.exp(x, sign * h * s.u)
        grad = M.euclidean_to_riemannian_gradient(y, f.gradient(y))
        change = change + sign * M.parallel_transport(y, M.log(y, x), grad) @ gauge(s, y, x)
    H = M.euclidean_to_riemannian_hessian(x, f.gradient(x), f.hessian(x, s.u), s.u)
    size = abs(f.value(x)) + float(M.norm(x, H))
    vectors_close(s, x, change / (2 * h), H, 1e-6 * size, "Hessian: connection")


def gauge(s: Sample, y, x):
    """The rotation from the basis that exp(y, log(y, x)) returns to the basis x; the identity in a chart."""
    if s.linear:
        n = x.shape[-1]
        return as_kind(np.broadcast_to(np.eye(n), (*x.shape[:-2], n, n)), x)
    return transposed(s.manifold.exp(y, s.manifold.log(y, x))) @ x


ALGEBRAIC = (kind_law, metric_law, projection_law, zero_law, transport_law)
GEODESIC = (exp_log_law, near_law, geodesic_law, triangle_law, parallel_transport_law)
DIFFERENCES = (retraction_law, gradient_law, hessian_law)


def law_suite(s: Sample, laws=ALGEBRAIC + GEODESIC + DIFFERENCES) -> None:
    """Every law at one sample."""
    for law in laws:
        law(s)

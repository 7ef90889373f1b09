"""The laws of a Riemannian manifold: each returns the largest relative error of what should be equal.

A law that needs a method which the manifold does not implement raises NotImplementedError and is left out, and so is
one that makes no sense for the way in which points are stored. Vectors have length 1; `short` ones have length 0.1 or
a quarter of the injectivity radius, so that geodesics along them are shortest.

Source: N. Boumal, An introduction to optimization on smooth manifolds, 2023.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from manifolds.checking.places import Place
from manifolds.checking.reports import Check, at_most
from manifolds.checking.retractions import idempotence_defect
from manifolds.checking.sampling import is_finite
from manifolds.checking.vectors import as_tangent, distance, inner, leaves, mapped, precision, same_layout, size

__all__ = ["LAWS", "law_checks"]

ALGEBRAIC = 1e-8
GEODESIC = 1e-6  # leaves room for distances by the arccosine, which are off by sqrt(eps)
STEP = 1e-4  # of a velocity by central differences, of fourth order
COARSE = 1e-12  # unit of rounding from which on these differences need longer steps
NEAR = 1e-4  # of the way to the end of a short vector
LARGEST_DIM = 100  # of a manifold whose tangent spaces are counted out
RANK = 1e-5  # relative, of singular values that count


def points_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.u))
    if not all(is_finite(point) for point in (p.x, p.other, end)):
        return np.inf
    judged = getattr(p.manifold, "is_point", lambda point: True)
    return 0.0 if all(map(judged, (p.x, p.other, end))) else np.inf


def randomness_law(p: Place) -> float:
    """On a manifold of dimension 1 there are two unit vectors only, which two draws may share."""
    same_point = p.manifold.dim > 0 and distance(p.x, p.other) <= ALGEBRAIC * size(p.x)
    same_vector = p.manifold.dim > 1 and p.norm(p.u - p.v) <= ALGEBRAIC
    return float(same_point or same_vector)


def symmetric_law(p: Place) -> float:
    complex_part = abs(np.imag(p.manifold.inner_product(p.x, p.u, p.v)))
    return max(abs(p.inner(p.u, p.v) - p.inner(p.v, p.u)), float(complex_part))


def bilinear_law(p: Place) -> float:
    left = p.inner(2 * p.u - 3 * p.v, p.w) - 2 * p.inner(p.u, p.w) + 3 * p.inner(p.v, p.w)
    right = p.inner(p.w, 2 * p.u - 3 * p.v) - 2 * p.inner(p.w, p.u) + 3 * p.inner(p.w, p.v)
    return max(abs(left), abs(right))


def positive_law(p: Place) -> float:
    combinations = (p.u, p.v, p.w, p.u - 0.3 * p.v) if p.manifold.dim > 0 else ()
    return float(any(not p.inner(vector, vector) > 0 for vector in combinations))


def norm_law(p: Place) -> float:
    vectors = (p.u, p.v, 3 * p.u - 2 * p.v)
    norms = [float(np.real(p.manifold.norm(p.x, vector))) for vector in vectors]
    return max(abs(norm**2 - p.inner(vector, vector)) / 25 for norm, vector in zip(norms, vectors, strict=True))


def zero_vector_law(p: Place) -> float:
    zero = p.manifold.zero_vector(p.x)
    return max(p.norm(zero), p.norm(p.u + zero - p.u))


def tangent_law(p: Place) -> float:
    return max(p.off_tangent(p.x, vector) for vector in (p.u, p.v))


def idempotent_law(p: Place) -> float:
    return idempotence_defect(p.manifold, p.x, p.ambient)


def tangentialize_law(p: Place) -> float:
    return max(p.norm(as_tangent(p.manifold, p.x, p.manifold.to_tangent_space(p.x, v)) - v) for v in (p.u, p.v))


def exp_zero_law(p: Place) -> float:
    return p.dist(p.exp(p.x, p.manifold.zero_vector(p.x)), p.x)


def radial_law(p: Place) -> float:
    lengths = [p.dist(p.x, p.exp(p.x, p.short(vector))) - p.norm(p.short(vector)) for vector in (p.u, p.v)]
    return float(np.max(np.abs(lengths))) / p.length


def speed_law(p: Place) -> float:
    times = np.array([-1.0, -0.3, 0.4, 1.0])
    points = [p.exp(p.x, t * p.short(p.u)) for t in times.tolist()]
    lengths = [p.dist(a, b) for a, b in pairwise(points)]
    return float(np.max(np.abs(lengths - np.diff(times) * p.norm(p.short(p.u))))) / p.length


def velocity_law(p: Place) -> float:
    """By differences in the ambient space, hence also without a distance, in the metric along the geodesic."""
    if not (same_layout(p.x, p.ambient) and isinstance(p.x, np.ndarray)):
        raise NotImplementedError("no ambient space")
    ends = []
    step = max(STEP, precision(p.x) ** 0.2 if precision(p.x) > COARSE else 0.0)  # wider at single precision
    for t in (0.0, 1.0, 5.0):
        near, far = ([p.exp(p.x, (t + sign * h) * p.short(p.u)) for sign in (1, -1)] for h in (step, 2 * step))
        velocity = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)
        end = p.exp(p.x, t * p.short(p.u))
        ends.append(abs(p.norm(p.manifold.projection(end, velocity), end) - p.norm(p.short(p.u))))
    return max(ends) / p.length


def log_exp_law(p: Place) -> float:
    log = p.manifold.log(p.x, p.exp(p.x, p.short(p.u)))
    return p.norm(as_tangent(p.manifold, p.x, log) - p.short(p.u)) / p.length


def exp_log_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.v))
    return p.dist(p.exp(p.x, as_tangent(p.manifold, p.x, p.manifold.log(p.x, end))), end) / p.length


def symmetric_dist_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.v))
    return max(abs(p.dist(p.x, y) - p.dist(y, p.x)) / max(1.0, p.dist(p.x, y)) for y in (p.other, end))


def zero_dist_law(p: Place) -> float:
    return max(p.dist(p.x, p.x), p.dist(p.other, p.other))


def triangle_law(p: Place) -> float:
    ends = [p.manifold.retraction(p.x, p.short(vector)) for vector in (p.u, p.v)]
    triples = [(p.x, *ends), (ends[0], p.x, ends[1]), (p.x, ends[0], p.other), (ends[0], ends[1], p.other)]
    return max(max(0.0, p.dist(a, c) - p.dist(a, b) - p.dist(b, c)) for a, b, c in triples)


def midpoint_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.u))
    middle, half = p.manifold.pair_mean(p.x, end), 0.5 * p.dist(p.x, end)
    return max(abs(p.dist(middle, y) - half) for y in (p.x, end)) / p.length


def transport_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.u))
    moved = as_tangent(p.manifold, end, p.manifold.transport(p.x, end, p.v))
    return p.off_tangent(end, moved) / (p.norm(moved, end) or 1.0)


def linear_transport_law(p: Place) -> float:
    end = p.manifold.retraction(p.x, p.short(p.u))
    v, w, both = (as_tangent(p.manifold, end, p.manifold.transport(p.x, end, a)) for a in (p.v, p.w, 2 * p.v - 3 * p.w))
    return p.norm(both - (2 * v - 3 * w), end)


def transport_start_law(p: Place) -> float:
    moved = [as_tangent(p.manifold, p.x, p.manifold.transport(p.x, p.x, vector)) for vector in (p.u, p.v)]
    return max(p.norm(a - vector) for a, vector in zip(moved, (p.u, p.v), strict=True))


def near_transport_law(p: Place) -> float:
    """In products of vectors, which unlike the arrays are the same for all representatives of the end."""
    vectors = (p.u, p.v, p.w)
    end = p.manifold.retraction(p.x, NEAR * p.short(p.u))
    moved = [as_tangent(p.manifold, end, p.manifold.transport(p.x, end, vector)) for vector in vectors]
    return max(
        abs(inner(p.manifold, end, a, b) - p.inner(u, v))
        for a, u in zip(moved, vectors, strict=True)
        for b, v in zip(moved, vectors, strict=True)
    )


def onward_transport_law(p: Place) -> float:
    end = p.exp(p.x, NEAR * p.short(p.u))
    back = as_tangent(p.manifold, end, p.manifold.log(end, p.x))
    moved = as_tangent(p.manifold, end, p.manifold.transport(p.x, end, p.u))
    return abs(inner(p.manifold, end, moved, back) / (NEAR * p.length) + p.inner(p.u, p.u))


def isometry_law(p: Place) -> float:
    transport = require(p.manifold, "parallel_transport")
    end = p.exp(p.x, p.short(p.u))
    vectors = (p.u, p.v, p.w)
    moved = [transport(p.x, p.short(p.u), vector) for vector in vectors]
    products = [[inner(p.manifold, end, a, b) for a in moved] for b in moved]
    errors = np.array(products) - [[p.inner(a, b) for a in vectors] for b in vectors]
    return max(float(np.max(np.abs(errors))), *(p.off_tangent(end, vector) for vector in moved))


def parallel_start_law(p: Place) -> float:
    transport = require(p.manifold, "parallel_transport")
    return max(p.norm(transport(p.x, 0.0 * p.u, vector) - vector) for vector in (p.u, p.v))


def autoparallel_law(p: Place) -> float:
    transport, direction = require(p.manifold, "parallel_transport"), p.short(p.u)
    end = p.exp(p.x, direction)
    back = as_tangent(p.manifold, end, p.manifold.log(end, p.x))
    return p.norm(transport(p.x, direction, direction) + back, end) / p.length


def dimension_law(p: Place) -> float:
    """The span of projected vectors of the ambient space; of random tangent vectors where there is no such space."""
    dim = int(p.manifold.dim)
    if dim > LARGEST_DIM:
        raise NotImplementedError("too many vectors")
    vectors = [p.random_vector() for _ in range(dim + 3)]
    rows = [np.concatenate([leaf.ravel() for leaf in leaves(vector)]) for vector in vectors]
    values = np.linalg.svd(np.array([np.concatenate([np.real(row), np.imag(row)]) for row in rows]), compute_uv=False)
    return float(abs(int(np.sum(values > RANK * max(np.max(values), RANK))) - dim))


def membership_law(p: Place) -> float:
    """What has NaN entries is not a point of any manifold."""
    judged = require(p.manifold, "is_point")
    try:
        return float(bool(judged(mapped(lambda leaf: np.full_like(leaf, np.nan), p.x))))
    except (ValueError, FloatingPointError, np.linalg.LinAlgError):
        return 0.0


def mean_law(p: Place) -> float:
    """At the mean of points the vectors to them add up to zero."""
    mean = require(p.manifold, "mean")
    if not isinstance(p.x, np.ndarray):
        raise NotImplementedError("no stacks of points")
    points = [p.exp(p.x, p.short(vector)) for vector in (p.u, p.v, p.w)]
    middle = mean(np.stack(points))
    pulls = [p.manifold.log(middle, point) for point in points]
    return p.norm(pulls[0] + pulls[1] + pulls[2], middle) / p.length


def inverse_retraction_law(p: Place) -> float:
    inverse, end = require(p.manifold, "inverse_retraction"), p.manifold.retraction(p.x, p.short(p.u))
    return p.norm(inverse(p.x, end) - p.short(p.u)) / p.length


def require(manifold: Any, name: str) -> Callable[..., Any]:
    """A method that pymanopt's interface does not know."""
    method = getattr(manifold, name, None)
    if method is None:
        raise NotImplementedError(f"no {name}")
    return method


LAWS: tuple[tuple[str, str, Callable[[Place], float], float], ...] = (
    ("random points", "x, R(x, v) are points of the manifold", points_law, ALGEBRAIC),
    ("is_point", "NaN is not a point", membership_law, 0.5),
    ("random points differ", "two draws are not the same", randomness_law, 0.5),
    ("metric is symmetric", "<u, v> = <v, u>, real", symmetric_law, ALGEBRAIC),
    ("metric is bilinear", "<a u + b v, w> = a <u, w> + b <v, w>", bilinear_law, ALGEBRAIC),
    ("metric is positive", "<v, v> > 0", positive_law, 0.5),
    ("norm", "|v|^2 = <v, v>", norm_law, ALGEBRAIC),
    ("zero vector", "|0| = 0, v + 0 = v", zero_vector_law, ALGEBRAIC),
    ("projection fixes tangents", "proj(x, v) = v for tangent v", tangent_law, ALGEBRAIC),
    ("projection is idempotent", "proj(x, proj(x, z)) = proj(x, z)", idempotent_law, ALGEBRAIC),
    ("dimension", "proj(x, z) for all z span a space of dimension dim", dimension_law, 0.5),
    ("to_tangent_space", "to_tangent_space(x, v) = v for tangent v", tangentialize_law, ALGEBRAIC),
    ("exp of zero", "exp(x, 0) = x", exp_zero_law, GEODESIC),
    ("length of geodesics", "dist(x, exp(x, v)) = |v| for short v", radial_law, GEODESIC),
    ("constant speed", "dist(exp(x, s v), exp(x, t v)) = |t - s| |v|", speed_law, GEODESIC),
    ("velocity", "|d/dt exp(x, t v)| = |v|", velocity_law, GEODESIC),
    ("log of exp", "log(x, exp(x, v)) = v for short v", log_exp_law, GEODESIC),
    ("exp of log", "exp(x, log(x, y)) = y", exp_log_law, GEODESIC),
    ("distance is symmetric", "dist(x, y) = dist(y, x)", symmetric_dist_law, GEODESIC),
    ("distance to itself", "dist(x, x) = 0", zero_dist_law, GEODESIC),
    ("triangle inequality", "dist(x, z) <= dist(x, y) + dist(y, z)", triangle_law, GEODESIC),
    ("midpoint", "dist(x, m) = dist(m, y) = dist(x, y) / 2, m = pair_mean(x, y)", midpoint_law, GEODESIC),
    ("transport is tangent", "transport(x, y, v) is tangent at y", transport_law, ALGEBRAIC),
    ("transport is linear", "T(a v + b w) = a T(v) + b T(w)", linear_transport_law, ALGEBRAIC),
    ("transport to the same point", "transport(x, x, v) = v", transport_start_law, ALGEBRAIC),
    ("transport nearby", "<T u, T v> -> <u, v> as y -> x", near_transport_law, 1e-2),
    ("transport onward", "<T u, -log(y, x)> = t |u|^2 + o(t), y = exp(x, t u)", onward_transport_law, 1e-2),
    ("parallel transport", "<T u, T v> = <u, v>, tangent", isometry_law, ALGEBRAIC),
    ("parallel transport by zero", "parallel_transport(x, 0, v) = v", parallel_start_law, ALGEBRAIC),
    ("parallel transport of the direction", "T d = -log(exp(x, d), x)", autoparallel_law, GEODESIC),
    ("mean", "sum of log(m, x_i) = 0, m = mean(x_1, ..., x_n)", mean_law, GEODESIC),
    ("inverse retraction", "inverse_retraction(x, R(x, v)) = v", inverse_retraction_law, GEODESIC),
)


def law_checks(places: list[Place]) -> Iterator[Check]:
    """Every law that the manifold implements, at its worst place."""
    rounding = max(place.rounding / place.length for place in places)
    for name, statement, law, tolerance in LAWS:
        bound = tolerance + 100 * rounding
        try:
            yield at_most(name, statement, np.max([law(place) for place in places]), bound, "It does not hold.")
        except NotImplementedError:
            continue
        except Exception as error:  # a checker reports what a manifold raises, whatever it is
            yield at_most(name, statement, np.nan, bound, f"It raised {type(error).__name__}: {error}.")

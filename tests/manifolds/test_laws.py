"""The law suite on Grassmann and RegularizedGrassmann, and on two of pymanopt's manifolds as a control."""

import numpy as np
import pymanopt.manifolds
import pytest

from manifolds import Grassmann, RegularizedGrassmann
from tests.laws import manifolds as laws
from tests.laws.manifolds import Sample
from tests.manifolds.samples import both

SHAPES = [(2, 1, 1), (5, 1, 1), (6, 2, 1), (5, 4, 1), (9, 3, 1), (4, 4, 1), (1, 1, 1), (6, 2, 3), (40, 12, 1)]
KINDS = [("numpy", np.float64), ("torch", np.float64), ("numpy", np.float32), ("torch", np.float32)]
LAMBDAS = [1e-6, 1e-2, 1.0, 1e3]


def grassmann_sample(shape, seed=0, kind="numpy", dtype=np.float64) -> Sample:
    m, n, k = shape
    M, rng = Grassmann(m, n, k=k), np.random.default_rng(seed)
    x = both(M.random_point(rng).astype(dtype), kind)
    u, v = (M.random_tangent_vector(x, rng) for _ in range(2))
    return Sample(M, x, u, v, both(rng.standard_normal(M.shape).astype(dtype), kind))


POINTS = {
    # name: (m, n, function of a Gaussian matrix with entries of size sqrt(lam))
    "full rank": (7, 3, lambda Z: Z),
    "large": (7, 3, lambda Z: 10 * Z),
    "rank one": (7, 3, lambda Z: Z[:, :1] @ np.ones((1, 3))),
    "equal columns": (6, 2, lambda Z: Z[:, [0, 0]]),
    "zero": (5, 3, lambda Z: 0 * Z),
    "wide": (2, 5, lambda Z: Z),
    "square": (4, 4, lambda Z: Z),
    "one number": (1, 1, lambda Z: Z),
}


def regularized_sample(name, lam, seed=0, kind="numpy", dtype=np.float64) -> Sample:
    m, n, change = POINTS[name]
    M, rng = RegularizedGrassmann(m, n, lam), np.random.default_rng(seed)
    Phi = change(np.sqrt(lam) * rng.standard_normal((m, n)))
    x = both(Phi.astype(dtype), kind)
    u, v = (M.random_tangent_vector(x, rng) for _ in range(2))
    kappa = 1 + np.linalg.norm(Phi, 2) ** 2 / lam
    # a point at angle atan(sqrt(kappa - 1)) from zero is pi/2 - that, about 1 / sqrt(kappa), from the edge of the chart
    ambient = both((np.sqrt(lam) * rng.standard_normal((m, n))).astype(dtype), kind)
    return Sample(M, x, u, v, ambient, kappa=kappa, scale=0.5 / np.sqrt(kappa), linear=True)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES)
def test_grassmann(shape, seed, kind):
    s = grassmann_sample(shape, seed, kind)
    laws.law_suite(s)
    laws.orthogonal_projection_law(s)
    laws.connection_law(s)
    laws.retraction_law(s, order=2)
    laws.representative_law(s)
    if np.prod(shape) < 50:
        laws.dimension_law(s)
    if s.manifold.dim > 1:
        laws.curvature_law(s)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", SHAPES)
def test_grassmann_in_single_precision(shape, kind):
    laws.law_suite(grassmann_sample(shape, 0, kind, np.float32), laws.ALGEBRAIC + laws.GEODESIC)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("name", POINTS)
def test_regularized_grassmann(name, lam, kind):
    s = regularized_sample(name, lam, 1, kind)
    laws.law_suite(s)
    laws.connection_law(s)
    if s.manifold.dim > 1 and name != "large":
        laws.curvature_law(s)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("name", POINTS)
def test_regularized_grassmann_in_single_precision(name, lam, kind):
    laws.law_suite(regularized_sample(name, lam, 1, kind, np.float32), laws.ALGEBRAIC + laws.GEODESIC)


@pytest.mark.parametrize("method", ["polar", "qr", "cayley", "exponential"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_retraction_of_grassmann_has_order_two(shape, method):
    s = grassmann_sample(shape, 3)
    laws.retraction_law(s, 2, lambda x, u: s.manifold.retraction(x, u, method=method))


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize(("method", "order"), [("linear", 1), ("second-order", 2), ("polar", 2), ("exponential", 2)])
def test_every_retraction_of_the_regularised_manifold(method, order, lam):
    for name in POINTS:
        s = regularized_sample(name, lam, 3)
        laws.retraction_law(s, order, lambda x, u, M=s.manifold: M.retraction(x, u, method=method))


def test_the_linear_retraction_has_order_one_only():
    s = regularized_sample("full rank", 1.0, 3)
    with pytest.raises(AssertionError, match="order 2"):
        laws.retraction_law(s, 2)


def control_sample(manifold, seed=0) -> Sample:
    rng = np.random.default_rng(seed)
    shape = manifold.zero_vector(manifold.random_point()).shape
    x = np.linalg.qr(rng.standard_normal(shape))[0] if len(shape) == 2 else unit(rng.standard_normal(shape))
    u, v = (unit(manifold.projection(x, rng.standard_normal(shape))) for _ in range(2))
    # arccos of a cosine that is 1 to rounding: sqrt(2 eps), and some roundings of it
    return Sample(manifold, x, u, v, rng.standard_normal(shape), distance=4 * np.sqrt(2.0**-52))


def unit(array):
    return array / np.linalg.norm(array)


@pytest.fixture
def unchanged_random_state():
    """pymanopt's random points draw from the global generator."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


SMOOTH = (
    laws.dimension_law,
    laws.metric_law,
    laws.projection_law,
    laws.orthogonal_projection_law,
    laws.gradient_law,
    laws.hessian_law,
)


@pytest.mark.usefixtures("unchanged_random_state")
@pytest.mark.parametrize("seed", range(3))
def test_sphere_as_a_control(seed):
    s = control_sample(pymanopt.manifolds.Sphere(7, 1), seed)
    geodesic = (laws.exp_log_law, laws.near_law, laws.geodesic_law, laws.triangle_law)
    laws.law_suite(s, (laws.kind_law, laws.zero_law, laws.transport_law, laws.retraction_law, *geodesic, *SMOOTH))


@pytest.mark.usefixtures("unchanged_random_state")
@pytest.mark.parametrize("seed", range(3))
def test_stiefel_as_a_control(seed):
    """No dist and no log there."""
    laws.law_suite(control_sample(pymanopt.manifolds.Stiefel(7, 3), seed), (laws.kind_law, laws.transport_law, *SMOOTH))


@pytest.mark.usefixtures("unchanged_random_state")
def test_pymanopts_grassmann_fails_what_ours_passes():
    """Its exp returns another basis than the one log and transport speak of, and its dist is off by sqrt(eps)."""
    ours = grassmann_sample((9, 3, 1))
    theirs = Sample(pymanopt.manifolds.Grassmann(9, 3), ours.point, ours.u, ours.v, ours.ambient)
    laws.law_suite(theirs, SMOOTH)
    with pytest.raises(AssertionError):
        laws.zero_law(theirs)

"""check_manifold and check_retraction: sound on our manifolds and pymanopt's, and noticing what is planted."""

import numpy as np
import pymanopt.manifolds as pm
import pytest

from manifolds import Grassmann, RegularizedGrassmann
from manifolds.checks import check_manifold, check_retraction

SPAN = np.random.default_rng(0).standard_normal((6, 3))
SOUND = {
    "sphere": lambda: pm.Sphere(5),
    "sphere of tensors": lambda: pm.Sphere(2, 3, 4),
    "sphere in a subspace": lambda: pm.SphereSubspaceIntersection(SPAN),
    "sphere in a complement": lambda: pm.SphereSubspaceComplementIntersection(SPAN),
    "Stiefel": lambda: pm.Stiefel(6, 3),
    "Stiefel, polar": lambda: pm.Stiefel(6, 3, retraction="polar"),
    "Stiefel^2": lambda: pm.Stiefel(6, 3, k=2),
    "Grassmann": lambda: pm.Grassmann(6, 2),
    "Grassmann^3": lambda: pm.Grassmann(6, 2, k=3),
    "Grassmann, one point": lambda: pm.Grassmann(3, 3),
    "complex Grassmann": lambda: pm.ComplexGrassmann(6, 2),
    "complex Grassmann^2": lambda: pm.ComplexGrassmann(5, 2, k=2),
    "oblique": lambda: pm.Oblique(4, 3),
    "Euclidean": lambda: pm.Euclidean(4, 3),
    "complex Euclidean": lambda: pm.ComplexEuclidean(4, 2),
    "symmetric": lambda: pm.Symmetric(4, k=2),
    "skew-symmetric": lambda: pm.SkewSymmetric(4),
    "rotations": lambda: pm.SpecialOrthogonalGroup(4),
    "rotations^2, polar": lambda: pm.SpecialOrthogonalGroup(3, k=2, retraction="polar"),
    "positive definite": lambda: pm.SymmetricPositiveDefinite(4),
    "positive definite^2": lambda: pm.SymmetricPositiveDefinite(3, k=2),
    "positive": lambda: pm.Positive(3, 2),
    "positive, parallel transport": lambda: pm.Positive(3, 2, use_parallel_transport=True),
    "Poincare ball": lambda: pm.PoincareBall(3),
    "Poincare ball^2": lambda: pm.PoincareBall(3, k=2),
    "fixed rank": lambda: pm.FixedRankEmbedded(6, 5, 2),
    "fixed rank, semidefinite": lambda: pm.PSDFixedRank(5, 2),
    "fixed rank, complex": lambda: pm.PSDFixedRankComplex(5, 2),
    "product": lambda: pm.Product([pm.Sphere(4), pm.Stiefel(4, 2)]),
    "product with ours": lambda: pm.Product([Grassmann(5, 2), pm.Euclidean(3)]),
    "ours": lambda: Grassmann(6, 2),
    "ours^3": lambda: Grassmann(6, 2, k=3),
    "ours, one point": lambda: Grassmann(3, 3),
    "regularised": lambda: RegularizedGrassmann(6, 2, 0.1),
    "regularised, wide": lambda: RegularizedGrassmann(4, 6, 1e-3),
}

# What the laws found in pymanopt 2.2.1: name -> (manifold, laws that have to say so, laws that have to hold).
DEFECTS = {
    "UnitaryGroup projects with the transpose for the adjoint": (
        lambda: pm.UnitaryGroup(3),
        {"projection fixes tangents", "gradient: gradient is tangent"},
        {"constant speed", "log of exp", "metric is symmetric"},
    ),
    "ComplexCircle.exp drops the imaginary part": (
        lambda: pm.ComplexCircle(4),
        {"exp of zero", "length of geodesics"},
        {"projection is idempotent", "midpoint", "gradient: gradient is tangent", "Hessian: Hessian is symmetric"},
    ),
    "Elliptope.projection has the sign of its Lyapunov equation wrong": (
        lambda: pm.Elliptope(6, 3),
        {"projection is idempotent", "projection fixes tangents", "Hessian: Hessian is symmetric"},
        {"metric is positive", "gradient: derivative, gradient", "retraction: first order"},
    ),
    "Product does not embed the vectors of its factors": (
        lambda: pm.Product([pm.SpecialOrthogonalGroup(3), pm.Euclidean(3)]),
        {"projection fixes tangents", "Hessian: Hessian is symmetric"},
        {"constant speed", "gradient: derivative, gradient"},
    ),
    "HermitianPositiveDefinite.dim counts imaginary parts on the diagonal": (
        lambda: pm.HermitianPositiveDefinite(3),
        {"dimension"},
        {"log of exp", "transport is tangent", "retraction: first order", "gradient: derivative, gradient"},
    ),
    "SpecialHermitianPositiveDefinite.dim counts them too": (
        lambda: pm.SpecialHermitianPositiveDefinite(3, k=2),
        {"dimension"},
        {"log of exp", "transport is tangent", "retraction: first order", "gradient: derivative, gradient"},
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_manifold_passes(name):
    for seed in (0, 9):
        report = check_manifold(SOUND[name](), rng=seed)
        assert report.passed, str(report)
        assert len(report.checks) > 20


@pytest.mark.parametrize("name", SOUND)
def test_its_retraction_passes(name):
    report = check_retraction(SOUND[name](), rng=1)
    assert report.passed, str(report)


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.filterwarnings("ignore:Casting complex values", "ignore:invalid value encountered")
def test_a_defect_of_pymanopt_is_told(name):
    manifold, broken, kept = DEFECTS[name]
    report = check_manifold(manifold(), rng=0)
    failed, checked = {check.name for check in report.failures}, {check.name for check in report.checks}
    assert broken <= failed, str(report)
    assert kept <= checked - failed, str(report)
    assert check_retraction(manifold(), rng=0).passed


def mutant(base, **methods):
    """An instance of a manifold whose methods are replaced by functions that receive the instance."""
    changed = type("Mutant", (type(base),), methods)
    base.__class__ = changed
    return base


def geodesic(X, D, cosine, sine):
    U, s, Vt = np.linalg.svd(D, full_matrices=False)
    return (X @ Vt.T * cosine(s)) @ Vt + (U * sine(s)) @ Vt


MUTANTS = {
    "projection is the identity": ("projection", lambda s, x, v: v, {"gradient: derivative, gradient"}),
    "projection is doubled": ("projection", lambda s, x, v: v - 2 * x @ (x.T @ v), {"projection is idempotent"}),
    "metric is not symmetric": (
        "inner_product",
        lambda s, x, u, v: float(np.sum(u * v) + u[0, 0] * v[1, 0]),
        {"metric is symmetric"},
    ),
    "metric is not linear": ("inner_product", lambda s, x, u, v: abs(np.sum(u * v)), {"metric is bilinear"}),
    "metric is negative": ("inner_product", lambda s, x, u, v: -np.sum(u * v), {"metric is positive", "norm"}),
    "norm is squared": ("norm", lambda s, x, v: 2 * np.sum(v * v), {"norm"}),
    "zero vector is not zero": ("zero_vector", lambda s, x: np.full_like(x, 1e-3), {"zero vector"}),
    "to_tangent_space scales": ("to_tangent_space", lambda s, x, v: 0.99 * v, {"to_tangent_space"}),
    "exp goes twice as far": (
        "exp",
        lambda s, x, v: geodesic(x, 2 * v, np.cos, np.sin),
        {"length of geodesics", "constant speed", "velocity", "log of exp", "exp of log", "retraction: first order"},
    ),
    "exp is the polar retraction": (
        "exp",
        lambda s, x, v: geodesic(x, v, lambda t: 1 / np.hypot(1, t), lambda t: t / np.hypot(1, t)),
        {"length of geodesics", "constant speed", "velocity", "log of exp"},
    ),
    "exp of zero is elsewhere": ("exp", lambda s, x, v: np.roll(x, 1, axis=0), {"exp of zero", "constant speed"}),
    "exp is not implemented, but raises": ("exp", lambda s, x, v: 1 / 0, {"exp of zero"}),
    "log points backwards": ("log", lambda s, x, y: -pm.Grassmann(6, 2).log(x, y), {"log of exp", "exp of log"}),
    "dist is chordal": (
        "dist",
        lambda s, x, y: np.linalg.norm(x @ x.T - y @ y.T) / np.sqrt(2),
        {"length of geodesics", "constant speed"},
    ),
    "dist is not symmetric": (
        "dist",
        lambda s, x, y: pm.Grassmann(6, 2).dist(x, y) * (1 + 0.1 * abs(x[0, 0])),
        {"distance is symmetric"},
    ),
    "dist to itself is not zero": (
        "dist",
        lambda s, x, y: pm.Grassmann(6, 2).dist(x, y) + 1e-3,
        {"distance to itself"},
    ),
    "dist is squared": ("dist", lambda s, x, y: pm.Grassmann(6, 2).dist(x, y) ** 2, {"triangle inequality"}),
    "retraction goes twice as far": (
        "retraction",
        lambda s, x, v: np.linalg.qr(x + 2 * v)[0],
        {"retraction: first order"},
    ),
    "transport is the identity": ("transport", lambda s, x, y, v: v, {"transport is tangent"}),
    "transport is not linear": (
        "transport",
        lambda s, x, y, v: np.linalg.norm(v) * (v - y @ (y.T @ v)),
        {"transport is linear"},
    ),
    "midpoint is an end": ("pair_mean", lambda s, x, y: x, {"midpoint"}),
    "gradient is not projected": (
        "euclidean_to_riemannian_gradient",
        lambda s, x, g: g,
        {"gradient: gradient is tangent"},
    ),
    "Hessian lacks its curvature term": (
        "euclidean_to_riemannian_hessian",
        lambda s, x, g, h, v: s.projection(x, h),
        {"Hessian: second derivative, random 1"},
    ),
    "random points are all the same": ("random_point", lambda s: np.eye(6)[:, :2], {"random points differ"}),
    "parallel transport shrinks": (
        "parallel_transport",
        lambda s, x, d, v: 0.999 * Grassmann(6, 2).parallel_transport(x, d, v),
        {"parallel transport"},
    ),
    "inverse retraction is the logarithm": (
        "inverse_retraction",
        lambda s, x, y: pm.Grassmann(6, 2).log(x, y),
        {"inverse retraction"},
    ),
    "is_point refuses": ("is_point", lambda s, x: False, {"random points"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutation_is_noticed(name):
    method, replacement, laws = MUTANTS[name]
    report = check_manifold(mutant(pm.Grassmann(6, 2), **{method: replacement}), rng=0)
    assert laws <= {check.name for check in report.failures}, str(report)


RETRACTIONS = {
    "twice as far": lambda M: lambda x, v: M.retraction(x, 2 * v),
    "a thousandth further": lambda M: lambda x, v: M.retraction(x, 1.001 * v),
    "nowhere": lambda M: lambda x, v: x,
    "backwards": lambda M: lambda x, v: M.retraction(x, -1.0 * v),
    "from elsewhere": lambda M: lambda x, v: M.retraction(M.retraction(x, 0.1 * M.random_tangent_vector(x)), v),
}
SEVERAL = ["sphere", "Stiefel", "Grassmann", "rotations", "positive definite", "product", "ours", "regularised"]


@pytest.mark.parametrize("change", RETRACTIONS)
@pytest.mark.parametrize("name", [*SEVERAL, "fixed rank, semidefinite"])
def test_a_wrong_retraction_is_noticed(name, change):
    manifold = SOUND[name]()
    assert not check_retraction(manifold, rng=2, retraction=RETRACTIONS[change](manifold)).passed


@pytest.mark.parametrize("name", ["sphere", "Stiefel", "Grassmann", "Grassmann^3", "rotations", "oblique", "ours"])
def test_a_step_off_the_manifold_is_noticed(name):
    manifold = SOUND[name]()
    report = check_retraction(manifold, rng=3, retraction=lambda x, v: x + manifold.embedding(x, v))
    assert any(check.name.startswith("on the manifold") for check in report.failures), str(report)


def test_a_retraction_that_cannot_be_compared_is_asked_for_finite_points():
    manifold = pm.Product([pm.FixedRankEmbedded(5, 4, 2), pm.Euclidean(3)])
    report = check_retraction(manifold, rng=0)
    assert report.passed and [check.name for check in report.checks] == ["finite 1", "finite 2"]
    with np.errstate(invalid="ignore"):
        broken = check_retraction(manifold, rng=0, retraction=lambda x, v: [np.full(3, np.nan)])
    assert not broken.passed


def test_the_order_of_a_retraction_is_measured():
    def slopes(report):
        return [round(check.measured) for check in report.checks if check.name.startswith("first order")]

    assert slopes(check_retraction(pm.Stiefel(6, 3), rng=0)) == [2, 2]
    assert slopes(check_retraction(pm.Stiefel(6, 3, retraction="polar"), rng=0)) == [3, 3]
    assert slopes(check_retraction(Grassmann(6, 2), rng=0)) == [3, 3]
    exact = check_retraction(Grassmann(6, 2), rng=0, retraction=Grassmann(6, 2).exp)
    assert exact.passed and "exact" in str(exact)


@pytest.mark.parametrize("name", ["Euclidean", "fixed rank", "product with ours", "regularised"])
def test_the_seed_decides_and_global_generators_are_left_alone(name):
    before = np.random.get_state()[1].copy()
    first, second = (check_manifold(SOUND[name](), rng=5) for _ in range(2))
    assert [check.measured for check in first.checks] == [check.measured for check in second.checks]
    third = check_manifold(SOUND[name](), rng=np.random.default_rng(6))
    assert [check.measured for check in first.checks] != [check.measured for check in third.checks]
    assert np.array_equal(np.random.get_state()[1], before)


def test_arguments():
    with pytest.raises(TypeError, match="manifold must be a pymanopt Manifold, got int"):
        check_manifold(3)
    with pytest.raises(TypeError, match="manifold must be"):
        check_retraction(pm.Sphere)
    with pytest.raises(TypeError, match="retraction must be a function, got int"):
        check_retraction(pm.Sphere(3), retraction=1)
    for check in (check_manifold, check_retraction):
        with pytest.raises(TypeError, match="rng must be"):
            check(pm.Sphere(3), rng="zero")

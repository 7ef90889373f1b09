"""RegularizedGrassmann against dense formulas and mpmath: metric, distance, exp, log, transport, symmetry."""

import math

import numpy as np
import pytest

from manifolds import CutLocusWarning, Grassmann, RegularizedGrassmann, principal_angles
from tests.manifolds import oracles
from tests.manifolds.samples import EPS, both, orthogonal

LAMBDAS = [1e-6, 1e-2, 1.0, 1e3]
POINTS = {
    # name: (m, n, function of a Gaussian matrix)
    "full rank": (6, 3, lambda Z: Z),
    "rank one": (6, 3, lambda Z: Z[:, :1] @ np.ones((1, 3))),
    "graded": (6, 3, lambda Z: Z * [1e-6, 1e-3, 1.0]),
    "zero": (5, 2, lambda Z: 0 * Z),
    "wide": (2, 4, lambda Z: Z),
    "one number": (1, 1, lambda Z: Z),
}
CASES = [(name, lam) for name in POINTS for lam in LAMBDAS]


def sample(name, lam, seed=0, size=1.0):
    """(manifold, Phi of size sqrt(lam) `size`, two unit vectors, squared condition number of [Phi; sqrt(lam)])."""
    m, n, change = POINTS[name]
    M, rng = RegularizedGrassmann(m, n, lam), np.random.default_rng(seed)
    Phi = change(size * math.sqrt(lam) * rng.standard_normal((m, n)))
    D, E = (rng.standard_normal((m, n)) for _ in range(2))
    unit = [V / float(oracles.regularized_metric(Phi, lam, V, V)) ** 0.5 for V in (D, E)]
    return M, Phi, *unit, 1 + np.linalg.norm(Phi, 2) ** 2 / lam


def rounding(Phi, kappa) -> float:
    """10 eps sqrt(m n) kappa, for quantities of size one in the metric."""
    return 10 * EPS * math.sqrt(Phi.size) * kappa


def metric_norm(Phi, lam, V) -> float:
    """Norm by the dense formula."""
    return float(oracles.regularized_metric(Phi, lam, V, V)) ** 0.5


# --- metric ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_metric_is_the_dense_formula(name, lam, kind):
    M, Phi, D, E, kappa = sample(name, lam)
    x, d, e = (both(A, kind) for A in (Phi, D, E))
    expected = float(oracles.regularized_metric(Phi, lam, D, E))
    assert float(M.inner_product(x, d, e)) == pytest.approx(expected, rel=0, abs=rounding(Phi, kappa))
    assert float(M.norm(x, d)) == pytest.approx(1.0, rel=0, abs=rounding(Phi, kappa))


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e3, 1e6])
def test_metric_keeps_its_digits_at_large_and_small_points(size):
    """Relative to the norm of the vector: 100 eps whatever |Phi|^2 / lam, for vectors in and out of span Phi."""
    M, Phi, D, E, _ = sample("full rank", 0.1, 3, size)
    inside = Phi @ np.random.default_rng(1).standard_normal((3, 3))
    for V in (D, E, inside, Phi):
        assert float(M.norm(Phi, V)) == pytest.approx(metric_norm(Phi, 0.1, V), rel=100 * EPS * max(1.0, size))


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_lift_is_an_isometry_by_finite_differences(name, lam):
    """|lift(Phi + h D) - lift(Phi - h D)| of the projectors / 2 h is sqrt(2) |D|: truncation h^2, rounding eps / h."""
    M, Phi, D, _, _ = sample(name, lam)
    h = 1e-5
    ends = [M.lift(Phi + s * h * D) for s in (1, -1)]
    difference = np.linalg.norm(ends[0] @ ends[0].T - ends[1] @ ends[1].T) / (2 * h)
    assert difference / math.sqrt(2) == pytest.approx(float(M.norm(Phi, D)), rel=1e-7)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_lift_is_the_symmetric_orthonormal_basis(name, lam, kind):
    M, Phi, _, _, kappa = sample(name, lam)
    X = np.asarray(M.lift(both(Phi, kind)))
    m, n = Phi.shape
    np.testing.assert_allclose(X.T @ X, np.eye(n), rtol=0, atol=rounding(Phi, 1.0))
    assert oracles.error(X, oracles.lift(Phi, lam)) <= rounding(Phi, 1.0)
    np.testing.assert_allclose(X[m:], X[m:].T, rtol=0, atol=rounding(Phi, 1.0))
    np.testing.assert_allclose(math.sqrt(lam) * X[:m], Phi @ X[m:], rtol=0, atol=rounding(Phi, kappa) * math.sqrt(lam))


# --- distance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("move", [1e-14, 1e-8, 1e-3, 0.5, 2.0, 100.0])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_distance_is_that_of_the_lifts(name, lam, move, kind):
    """Relative to the distance, near and far: at least as good as the principal angles of the stacked matrices."""
    M, Phi, D, _, kappa = sample(name, lam)
    Psi = Phi + move * D
    expected = float(oracles.regularized_distance(Phi, Psi, lam))
    found = float(M.dist(both(Phi, kind), both(Psi, kind)))
    assert found == pytest.approx(expected, rel=rounding(Phi, math.sqrt(kappa)))
    stacked = [np.r_[A, math.sqrt(lam) * np.eye(A.shape[1])] for A in (Phi, Psi)]
    assert found == pytest.approx(np.linalg.norm(principal_angles(*stacked)), abs=rounding(Phi, 4.0))


@pytest.mark.parametrize("size", [1e-15, 1e-14, 1e-9, 2e-8, 1e-6, 1e-2])
@pytest.mark.parametrize("name", ["full rank", "rank one", "wide", "graded"])
def test_near_points_have_full_relative_accuracy(name, size):
    """Phi and Phi + 1e-14 D as floats: their exact difference counts, no digit is lost to the points' own size."""
    M, Phi, D, _, kappa = sample(name, 0.3, 5)
    Psi = Phi + size * D
    expected = float(oracles.regularized_distance(Phi, Psi, 0.3))
    assert float(M.dist(Phi, Psi)) == pytest.approx(expected, rel=rounding(Phi, math.sqrt(kappa)), abs=0)
    assert float(M.dist(Psi, Phi)) == pytest.approx(expected, rel=rounding(Phi, math.sqrt(kappa)), abs=0)
    assert float(M.dist(Phi, Phi.copy())) == 0.0


def test_distance_from_zero_and_to_infinity():
    """From 0 the angles are arctan(singular values / sqrt(lam)); far away they tend to pi/2."""
    M = RegularizedGrassmann(5, 3, 4.0)
    Phi = orthogonal(5, 1)[:, :3] * [1e-9, 2.0, 1e9]
    expected = math.hypot(*np.arctan([0.5e-9, 1.0, 0.5e9]))
    assert float(M.dist(np.zeros((5, 3)), Phi)) == pytest.approx(expected, rel=10 * EPS)
    assert float(M.dist(-Phi, Phi)) <= math.pi / 2 * math.sqrt(3)


def test_single_precision_distance():
    for name, lam in CASES:
        M, Phi, D, _, kappa = sample(name, lam)
        a, b = Phi.astype(np.float32), (Phi + 0.3 * D).astype(np.float32)
        found = M.dist(a, b)
        assert str(found.dtype) == "float32"
        expected = float(oracles.regularized_distance(a, b, lam))
        assert float(found) == pytest.approx(expected, rel=rounding(Phi, math.sqrt(kappa)) * 2.0**29)


# --- exp, log, parallel transport ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_exp_log_and_transport_against_the_reference(name, lam, kind):
    M, Phi, D, E, kappa = sample(name, lam)
    t = 0.4 / math.sqrt(kappa)
    x, d, e = both(Phi, kind), both(t * D, kind), both(E, kind)
    end = oracles.regularized_exp(Phi, lam, t * D)
    found = np.asarray(M.exp(x, d))
    assert metric_norm(Phi, lam, found - oracles.floats(end)) <= rounding(Phi, kappa)
    back = np.asarray(M.log(x, both(found, kind)))
    assert metric_norm(Phi, lam, back - t * D) <= rounding(Phi, kappa)
    moved = np.asarray(M.parallel_transport(x, d, e))
    expected = oracles.floats(oracles.regularized_transport(Phi, lam, t * D, E))
    assert metric_norm(found, lam, moved - expected) <= rounding(Phi, kappa)


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_exp_solves_the_geodesic_equation(name, lam):
    """Phi'' = 2 Phi' G^-1 Phi^T Phi', integrated to 1e-13 a step."""
    M, Phi, D, _, kappa = sample(name, lam)
    t = 0.4 / math.sqrt(kappa)
    expected = oracles.integrated_geodesic(Phi, lam, t * D)
    assert metric_norm(Phi, lam, M.exp(Phi, t * D) - expected) <= 1e-11 * kappa


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_log_between_far_points_is_the_shortest_velocity(name, lam):
    """Its norm is the distance, and it is the reference's whether or not the geodesic stays in the chart."""
    M, Phi, D, E, _ = sample(name, lam)
    Psi = Phi + 0.7 * D - 0.9 * E
    found = M.log(Phi, Psi)
    kappa = 1 + max(np.linalg.norm(Phi, 2), np.linalg.norm(Psi, 2)) ** 2 / lam
    assert metric_norm(Phi, lam, found - oracles.floats(oracles.regularized_log(Phi, Psi, lam))) <= rounding(Phi, kappa)
    assert float(M.norm(Phi, found)) == pytest.approx(float(M.dist(Phi, Psi)), abs=rounding(Phi, kappa))


def test_log_of_near_points_has_full_relative_accuracy():
    M, Phi, D, _, kappa = sample("full rank", 0.3, 5)
    for size in (1e-14, 1e-10, 1e-6):
        Psi = Phi + size * D
        error = metric_norm(Phi, 0.3, M.log(Phi, Psi) - oracles.floats(oracles.regularized_log(Phi, Psi, 0.3)))
        assert error <= rounding(Phi, kappa) * size


def test_the_cut_locus_of_the_regularised_manifold():
    """Phi = sqrt(lam) tan(pi/4) and its negative are at a right angle."""
    M = RegularizedGrassmann(1, 1, 4.0)
    with pytest.warns(CutLocusWarning):
        found = M.log(np.array([[2.0]]), np.array([[-2.0]]))
    assert float(M.norm(np.array([[2.0]]), found)) == pytest.approx(math.pi / 2)


# --- symmetry, limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_rotations_on_both_sides_are_isometries(name, lam):
    M, Phi, D, E, kappa = sample(name, lam)
    S, Q, t = orthogonal(Phi.shape[0], 1), orthogonal(Phi.shape[1], 2), 0.4 / math.sqrt(kappa)
    turned = [S @ A @ Q for A in (Phi, t * D, E)]
    Psi, bound = M.exp(Phi, t * D), rounding(Phi, kappa)
    pairs = {
        "exp": (M.exp(*turned[:2]), Psi),
        "log": (M.log(turned[0], S @ Psi @ Q), M.log(Phi, Psi)),
        "transport": (M.parallel_transport(*turned), M.parallel_transport(Phi, t * D, E)),
    }
    for name, (actual, expected) in pairs.items():
        assert metric_norm(Phi, lam, S.T @ actual @ Q.T - expected) <= 3 * bound, name
    assert float(M.inner_product(*turned)) == pytest.approx(float(M.inner_product(Phi, t * D, E)), abs=bound)
    assert float(M.dist(turned[0], S @ Psi @ Q)) == pytest.approx(float(M.dist(Phi, Psi)), abs=bound)


def test_a_change_of_units_is_an_isometry():
    """Phi -> c Phi with lam -> c^2 lam changes no distance."""
    M, Phi, D, _, kappa = sample("full rank", 1.0)
    for c in (1e-8, 3.0, 1e8):
        N = RegularizedGrassmann(*Phi.shape, c**2)
        assert float(N.norm(c * Phi, c * D)) == pytest.approx(float(M.norm(Phi, D)), rel=rounding(Phi, kappa))
        assert float(N.dist(c * Phi, c * (Phi + D))) == pytest.approx(float(M.dist(Phi, Phi + D)), rel=1e-13)


def test_small_regularisation_tends_to_grassmann_at_full_rank():
    """The error of metric and distance is of first order in lam: it falls tenfold with lam, within 5%."""
    rng, G = np.random.default_rng(0), Grassmann(7, 3)
    Phi, Psi, D = (rng.standard_normal((7, 3)) for _ in range(3))
    X, Y = (np.linalg.qr(A)[0] for A in (Phi, Psi))
    expected = float(G.dist(X, Y)), float(G.norm(X, G.projection(X, D) @ np.linalg.inv(X.T @ Phi)))
    errors = []
    for lam in (1e-3, 1e-4, 1e-5):
        M = RegularizedGrassmann(7, 3, lam)
        errors.append(
            [abs(a - b) for a, b in zip((float(M.dist(Phi, Psi)), float(M.norm(Phi, D))), expected, strict=True)]
        )
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    np.testing.assert_allclose(ratios, 10.0, rtol=0.05)
    assert np.all(np.array(errors[-1]) < 1e-3)


def test_curvature_is_that_of_the_lifts():
    M, Phi, D, E, _ = sample("full rank", 0.5)
    vectors = [oracles.lifted_vector(Phi, 0.5, V) for V in (D, E)]
    expected = float(oracles.curvature(oracles.lift(Phi, 0.5), *vectors))
    assert float(M.sectional_curvature(Phi, D, E)) == pytest.approx(expected, rel=0, abs=1e-13)

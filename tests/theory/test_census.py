"""What the census must find: every class of a subspace problem, and known critical points of small networks."""

import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import Euclidean
from scipy.optimize import minimize

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import from_function, mlp
from grassvp.riemannian import parameter_problem, subspace_problem
from grassvp.theory import critical_classes, find_critical_points
from tests.theory.oracles import targets_with

SHAPES = [
    ([3.0, 2.0, 1.0], 6, 2, 12),
    ([3.0, 2.0, 2.0, 0.5], 10, 3, 12),
    ([4.0, 3.0, 2.0, 1.0], 4, 2, 12),
    ([1.0, 1.0], 5, 4, 6),
    ([2.0, 1.0], 5, 5, 3),
    ([0.0], 5, 2, 3),
    ([4.0, 2.0, 2.0, 1.0], 40, 6, 6),
]


@pytest.mark.parametrize(("mu", "m", "n", "starts"), SHAPES)
def test_every_class_is_reported_once_with_its_morse_data(mu, m, n, starts):
    Y = targets_with(mu, m, 0)
    reports, classes = find_critical_points(subspace_problem(Y, n), starts=starts), critical_classes(Y, n)
    assert len(reports) == len(classes)
    for each in classes:
        (report,) = [r for r in reports if each.contains(r.point)]
        assert (report.index, report.nullity) == (each.index, each.nullity)
        assert report.value == pytest.approx(each.value, abs=1e-12)
        assert np.abs(report.hessian_eigenvalues - each.hessian_eigenvalues).max(initial=0.0) <= 1e-10 * mu[0]
        assert report.is_critical and (report.kind == "minimum") == each.is_minimum


def test_walks_from_random_starts_alone_find_classes_of_many_indices():
    """Without targets the problem is anybody's: nothing is known of its classes."""
    known = subspace_problem(targets_with([3.0, 2.0, 1.0], 6, 0), 2)
    wrap = pymanopt.function.numpy(known.manifold)
    problem = pymanopt.Problem(
        known.manifold,
        wrap(lambda point: known.cost(point)),
        riemannian_gradient=wrap(lambda point: known.riemannian_gradient(point)),
        riemannian_hessian=wrap(lambda point, vector: known.riemannian_hessian(point, vector)),
    )
    reports = find_critical_points(problem, starts=60, seed=1)
    expected = {(round(c.value, 8), c.index, c.nullity) for c in critical_classes(known.targets, 2)}
    assert {(round(r.value, 8), r.index, r.nullity) for r in reports} <= expected
    assert len(reports) >= len(expected) - 1
    assert reports[0].kind == "minimum"


def test_the_regularised_chart_has_one_entry():
    (report,) = find_critical_points(subspace_problem(targets_with([3.0, 1.0], 6, 0), 2, regularization=0.1), starts=5)
    assert (report.kind, report.index, report.nullity, report.value) == ("maximum", 4, 8, pytest.approx(2.0))


def himmelblau():
    """Four minima, four saddles and one maximum, with values known to many digits."""
    wrap = pymanopt.function.numpy(Euclidean(2))

    @wrap
    def cost(p):
        x, y = p
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    @wrap
    def gradient(p):
        x, y = p
        a, b = x**2 + y - 11, x + y**2 - 7
        return np.array([4 * x * a + 2 * b, 2 * a + 4 * y * b])

    @wrap
    def hessian(p, v):
        x, y = p
        H = np.array([[12 * x**2 + 4 * y - 42, 4 * (x + y)], [4 * (x + y), 4 * x + 12 * y**2 - 26]])
        return H @ v

    return pymanopt.Problem(Euclidean(2), cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def test_a_function_whose_nine_critical_points_are_known():
    starts = np.random.default_rng(0).uniform(-5, 5, (60, 2))
    reports = find_critical_points(himmelblau(), starts=0, initial_points=starts)
    assert [r.index for r in reports] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    values = [0, 0, 0, 0, 13.311926, 67.719190, 104.015243, 178.337240, 181.616522]
    assert np.allclose([r.value for r in reports], values, atol=2e-3)


def network(seed=0, width=1, outputs=2):
    x = np.linspace(-1, 1, 12)[:, None]
    rng = np.random.default_rng(seed)
    y = np.sin(3 * x + np.arange(outputs)) + 0.1 * rng.standard_normal((12, outputs))
    return ReducedProblem(SeparableProblem(mlp(1, (width,)), x, y, regularization=1e-2))


@pytest.fixture(scope="module")
def two_neurons():
    """The census, with starts near the symmetric saddle: which walk from a random start finds it is up to rounding."""
    reduced = network(width=2)
    w, b = find_critical_points(network(width=1), starts=3, seed=0)[0].point
    twins = np.array([w, w, b, b])
    return reduced, find_critical_points(reduced, starts=9, seed=0, initial_points=[twins, twins])


def test_network_points_are_critical_and_distinct(two_neurons):
    reduced, reports = two_neurons
    assert len(reports) >= 2 and any(r.index > 0 for r in reports) and reports[0].index == 0
    assert [r.value for r in reports] == sorted(r.value for r in reports)
    for report in reports:
        assert report.is_critical and np.linalg.norm(reduced.gradient(report.point)) <= 1e-10 * report.scale
        H = reduced.hessian(report.point)
        assert np.sum(np.linalg.eigvalsh(H) < -report.threshold) == report.index
    keys = {(round(r.value, 6), r.index) for r in reports}
    assert len(keys) >= len(reports) - 1


def test_permuted_and_flipped_neurons_are_one_point(two_neurons):
    reduced, reports = two_neurons
    w, v, b, c = reports[0].point
    copies = [(v, w, c, b), (-w, v, -b, c), (-v, -w, -c, -b)]
    again = find_critical_points(reduced, starts=0, initial_points=[np.array(copy) for copy in copies])
    assert len([r for r in again if abs(r.value - reports[0].value) < 1e-9]) == 1


def test_equal_seeds_give_equal_answers():
    reduced = network()
    first, second = (find_critical_points(reduced, starts=4, seed=3) for _ in range(2))
    assert all(np.array_equal(a.point, b.point) for a, b in zip(first, second, strict=True))
    through = find_critical_points(parameter_problem(reduced), starts=4, seed=3)
    assert {round(r.value, 6) for r in through} & {round(r.value, 6) for r in first}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_grid_has_no_valley_that_the_census_lacks(seed):
    reduced = network(seed)
    minima = [r for r in find_critical_points(reduced, starts=9) if r.index == 0]
    grid = np.linspace(-8, 8, 41)
    values = np.array([[reduced.value(np.array([w, b])) for b in grid] for w in grid])
    assert minima[0].value <= values.min()
    assert all(np.abs(r.point).max() < 30 for r in minima), "a neuron that has become a step is no minimum"
    inner = values[1:-1, 1:-1]
    around = [values[1 + i : 40 + i, 1 + j : 40 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    for row, column in np.argwhere(np.all([inner < other for other in around], axis=0)):
        corner = grid[[row + 1, column + 1]]
        end = minimize(reduced.value, corner, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
        assert min(abs(r.value - end.fun) for r in minima) < 1e-8


def test_points_at_infinity_are_dropped():
    """exp(-p x) fitted to a jump at 0: better and better as p grows, and flat there."""
    x = np.linspace(0.0, 1.0, 20)
    features = from_function(lambda p, x: np.e ** (-p[0] * x[:, None]), [1.0])
    reduced = ReducedProblem(SeparableProblem(features, x, (x == 0).astype(float), regularization=1e-3))
    assert np.linalg.norm(reduced.gradient(np.array([900.0]))) < 1e-12
    assert all(abs(r.point[0]) < 100 for r in find_critical_points(reduced, starts=6))


BAD = [
    (lambda: find_critical_points(3), TypeError, "problem must be"),
    (lambda: find_critical_points(network(), starts=-1), ValueError, "starts must be"),
    (lambda: find_critical_points(network(), seed=-1), ValueError, "seed must be"),
    (lambda: find_critical_points(network(), starts=0, initial_points=[np.zeros(3)]), ValueError, "point must"),
    (lambda: find_critical_points(himmelblau(), starts=2), ValueError, "give initial_points"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

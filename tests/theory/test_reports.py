"""What reports say of points whose nature is known."""

import numpy as np
import pymanopt
import pytest
import torch
from pymanopt.manifolds import Euclidean
from scipy.optimize import brentq

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError
from grassvp.features import from_function, mlp
from grassvp.riemannian import parameter_problem, subspace_problem
from grassvp.theory import critical_classes, critical_point_report
from manifolds import Grassmann
from tests.theory.oracles import slopes_by_differences, targets_with

SHAPES = [([3.0, 2.0, 2.0, 0.5], 9, 3), ([1.0, 1.0], 6, 3), ([5.0], 5, 1), ([4.0, 3.0, 1e-3], 12, 2)]


def plane(value, gradient, hessian, dimension=2):
    """A function of R^dimension as a problem."""
    manifold = Euclidean(dimension)
    wrap = pymanopt.function.numpy(manifold)
    return pymanopt.Problem(manifold, wrap(value), euclidean_gradient=wrap(gradient), euclidean_hessian=wrap(hessian))


def network(width=2, *, lam=1e-2, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, 12)[:, None]
    y = np.sin(3 * x + np.arange(outputs)) + 0.5 * x**2 + 0.05 * rng.standard_normal((12, outputs))
    return ReducedProblem(SeparableProblem(mlp(1, (width,)), x, y, regularization=lam))


@pytest.mark.parametrize(("mu", "m", "n"), SHAPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_is_recognised(mu, m, n, seed):
    Y = targets_with(mu, m, seed)
    problem = subspace_problem(Y, n)
    for each in critical_classes(Y, n):
        report = critical_point_report(problem, each.representative(seed))
        assert report.is_critical and report.cause == "invariant subspace"
        assert (report.index, report.nullity, report.symmetry) == (each.index, each.nullity, each.nullity)
        assert np.abs(report.hessian_eigenvalues - each.hessian_eigenvalues).max() <= 1e-13 * mu[0]
        assert report.value == pytest.approx(each.value, abs=1e-14 * sum(mu))
        positive = bool(np.any(each.hessian_eigenvalues > 0))
        assert report.kind == ("minimum" if each.index == 0 else "saddle" if positive else "maximum")
        assert f"manifold of dimension {each.nullity}" in report.explanation


@pytest.mark.parametrize(("mu", "m", "n"), SHAPES)
def test_a_point_a_millionth_away_is_not_critical(mu, m, n):
    Y = targets_with(mu, m, 0)
    problem = subspace_problem(Y, n)
    for each in critical_classes(Y, n):
        U = each.representative(1)
        away = problem.manifold.retraction(U, 1e-6 * problem.manifold.random_tangent_vector(U, 2))
        report = critical_point_report(problem, away)
        if each.nullity < each.dimension:
            assert not report.is_critical and report.kind == "regular" and report.cause == ""
            assert report.newton_step < 1e-5
            assert report.explanation.startswith("Not a critical point")


def test_the_regularised_chart_has_maxima_only():
    Y = targets_with([3.0, 1.0], 7, 0)
    problem = subspace_problem(Y, 2, regularization=0.1)
    outside = np.linalg.svd(Y)[0][:, 2:]
    for weights in (
        np.zeros((5, 2)),
        np.outer(np.ones(5), [1.0, 0.0]),
        np.random.default_rng(0).standard_normal((5, 2)),
    ):
        Phi = outside @ weights
        report = critical_point_report(problem, Phi)
        assert (report.kind, report.index, report.nullity) == ("maximum", 4, 10)
        assert report.rank == np.linalg.matrix_rank(weights) and report.cause == "zero coefficients"
        assert report.value == pytest.approx(2.0)
        assert not critical_point_report(problem, Phi + 1e-6 * Y).is_critical


def test_degenerate_manifolds():
    full = critical_point_report(subspace_problem(np.eye(3)[:, :2], 3), np.eye(3))
    assert (full.kind, full.index, full.nullity, full.hessian_eigenvalues.size) == ("minimum", 0, 0, 0)
    zero = critical_point_report(subspace_problem(np.zeros((4, 1)), 2), np.eye(4)[:, :2])
    assert (zero.kind, zero.index, zero.nullity, zero.symmetry) == ("minimum", 0, 4, 4)


FLAT = [
    (lambda x: 0.5 * x[0] ** 2 + x[1] ** 4, lambda x: np.array([x[0], 4 * x[1] ** 3]),
     lambda x, v: np.array([v[0], 12 * x[1] ** 2 * v[1]]), [0.0, 0.0], "degenerate", 0, 1),
    (lambda x: 0.5 * (x @ x - 1) ** 2, lambda x: 2 * (x @ x - 1) * x,
     lambda x, v: 2 * (x @ x - 1) * v + 4 * (x @ v) * x, [0.6, 0.8], "minimum", 0, 1),
    (lambda x: 0.5 * (x[0] ** 2 - x[1] ** 2), lambda x: np.array([x[0], -x[1]]),
     lambda x, v: np.array([v[0], -v[1]]), [0.0, 0.0], "saddle", 1, 0),
    (lambda x: -0.5 * x[0] ** 2, lambda x: np.array([-x[0], 0.0]),
     lambda x, v: np.array([-v[0], 0.0]), [0.0, 3.0], "maximum", 1, 1),
    (lambda x: 0.5 * x @ x, lambda x: x, lambda x, v: v, [1.0, 0.0], "regular", 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("value", "gradient", "hessian", "point", "kind", "index", "nullity"), FLAT)
def test_kinds_of_plain_functions(value, gradient, hessian, point, kind, index, nullity):
    report = critical_point_report(plane(value, gradient, hessian), np.array(point))
    assert (report.kind, report.index, report.nullity) == (kind, index, nullity)
    assert report.rank is None and report.differential_rank is None


def test_a_fitted_network_is_a_minimum_held_by_its_parametrisation():
    reduced = network()
    theta = solve(reduced.problem, seed=0).parameters
    report = critical_point_report(reduced, theta)
    assert report.is_critical and report.index == 0 and report.kind == "minimum"
    assert report.cause == "kernel of the differential"
    problem = reduced.problem
    slopes = slopes_by_differences(
        lambda at: problem.features(torch.from_numpy(at), problem.inputs).numpy().ravel(), theta.numpy()
    )
    assert report.differential_rank == np.linalg.matrix_rank(slopes, tol=1e-7) == 4
    assert "DPhi has rank 4 of at most 4" in report.explanation and "||" not in report.kind
    away = theta + 1e-6 * torch.from_numpy(np.random.default_rng(0).standard_normal(theta.shape))
    assert critical_point_report(reduced, away).kind == "regular"


def test_over_parametrised_features_stop_only_where_the_subspace_is_critical():
    """Phi = theta itself: DPhi is onto, and a class of A2 pulled back has n^2 more null directions."""
    Y = targets_with([4.0, 3.0, 2.0, 1.0], 5, 0)
    function = lambda theta, x: theta.reshape(5, 2) * torch.ones_like(x)  # noqa: E731
    reduced = ReducedProblem(SeparableProblem(from_function(function, np.ones(10)), np.ones((5, 1)), Y))
    for each in critical_classes(Y, 2):
        U = each.representative(0)
        report = critical_point_report(reduced, U.ravel())
        assert report.differential_rank == 10
        assert report.cause == "invariant subspace"
        assert (report.index, report.nullity) == (each.index, each.nullity + 4)
        assert report.symmetry >= 4
        assert (report.kind == "minimum") == each.is_minimum


def test_zero_coefficients_and_zero_residual():
    x = np.linspace(-1, 1, 9)
    even = SeparableProblem(mlp(1, (1,), bias_feature=False), x, np.cosh(x), regularization=0.1)
    report = critical_point_report(ReducedProblem(even), np.array([1.3, 0.0]))
    assert report.is_critical and report.cause == "zero coefficients" and report.index >= 1
    exact = SeparableProblem(mlp(1, (1,)), x, 2 * np.tanh(x + 0.3) + 1)
    report = critical_point_report(ReducedProblem(exact), np.array([1.0, 0.3]))
    assert report.is_critical and report.cause == "zero residual" and report.kind == "minimum"


def test_a_neuron_without_coefficients_moves_freely():
    """k = 1: the second neuron may move along the curve on which it stays orthogonal to the residual."""
    reduced = network(1, outputs=1)
    theta = solve(reduced.problem, seed=1).parameters.numpy()
    residual = reduced.linearize(theta).residual[:12, 0].numpy()
    x = reduced.problem.inputs[:, 0].numpy()
    w, grid = 5.0, np.linspace(-3.0, 3.0, 400)
    signs = np.sign([np.tanh(w * x + b) @ residual for b in grid])
    crossing = np.flatnonzero(np.diff(signs))[0]
    low = brentq(lambda b: np.tanh(w * x + b) @ residual, grid[crossing], grid[crossing + 1], xtol=1e-15)
    wide = network(2, outputs=1)
    report = critical_point_report(wide, np.array([theta[0], w, theta[1], low]))
    assert report.is_critical and report.nullity >= 1 and report.symmetry >= 1 and report.index >= 1
    assert "null directions leave the value unchanged" in report.explanation


def test_parameter_problems_are_reported_like_the_reduced_problem():
    reduced = network()
    theta = solve(reduced.problem, seed=0).parameters.numpy()
    one, other = critical_point_report(reduced, theta), critical_point_report(parameter_problem(reduced), theta)
    assert (one.kind, one.index, one.nullity, one.rank) == (other.kind, other.index, other.nullity, other.rank)
    assert (one.differential_rank, one.cause) == (other.differential_rank, other.cause)
    assert np.allclose(one.hessian_eigenvalues, other.hessian_eigenvalues, atol=1e-12 * one.spectrum.size)


def test_large_problems_are_reported_from_both_ends():
    Y = targets_with([4.0, 3.0, 2.0], 60, 0)
    lowest = critical_classes(Y, 2)[0]
    report = critical_point_report(subspace_problem(Y, 2), lowest.representative(0), dense_limit=20)
    assert report.kind == "minimum" and report.index == 0 and not report.spectrum.complete
    assert "at both ends were computed" in report.explanation
    flat = critical_classes(Y, 5)[0]
    report = critical_point_report(subspace_problem(Y, 5), flat.representative(0), dense_limit=20)
    assert report.kind == "minimum" and report.symmetry == flat.nullity > report.nullity > 0
    saddle = critical_point_report(subspace_problem(Y, 2), critical_classes(Y, 2)[1].representative(0), dense_limit=20)
    assert saddle.kind == "saddle" and saddle.index >= 1


BAD = [
    (lambda: critical_point_report("problem", np.eye(2)), TypeError, "problem must be a ReducedProblem or"),
    (lambda: critical_point_report(network(), np.zeros(3)), ValueError, "point must have shape"),
    (lambda: critical_point_report(network(), np.full(4, np.nan)), ValueError, "point has 4 NaN"),
    (lambda: critical_point_report(subspace_problem(np.ones(3), 1), np.ones((3, 1))), ValueError, "orthonormal"),
    (lambda: critical_point_report(subspace_problem(np.ones(3), 1), np.ones((2, 1))), ValueError, "point"),
    (lambda: critical_point_report(network(), np.zeros(4), tolerance=-1.0), ValueError, "tolerance must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_problem_without_hessian_is_refused_by_name():
    manifold = Grassmann(5, 2)
    function = pymanopt.function.numpy(manifold)
    cost, gradient = function(lambda U: float(np.sum(U[:, 0] ** 2))), function(lambda U: 2 * U)
    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=gradient)
    with pytest.raises(ArgumentError, match="problem must have a Hessian"):
        critical_point_report(problem, manifold.random_point(0))

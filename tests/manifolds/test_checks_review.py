"""The checks on what is small, constant, single, or wrong in a way that other laws let pass."""

import warnings

import numpy as np
import pymanopt
import pymanopt.manifolds as pm
import pytest
import torch

from manifolds import Grassmann, RegularizedGrassmann
from manifolds.checks import check_gradient, check_hessian, check_manifold
from tests.manifolds.test_checks_manifolds import mutant
from tests.manifolds.test_checks_problems import A, torch_cost

LINES = {
    "circle": lambda: pm.Sphere(2),
    "line": lambda: pm.Euclidean(1),
    "projective line": lambda: pm.Grassmann(2, 1),
    "ours": lambda: Grassmann(2, 1),
    "regularised": lambda: RegularizedGrassmann(1, 1, 1.0),
    "positive": lambda: pm.Positive(1, 1),
    "rotations": lambda: pm.SpecialOrthogonalGroup(2),
}


@pytest.mark.parametrize("name", LINES)
def test_a_manifold_of_dimension_one_passes(name):
    for seed in range(5):
        report = check_manifold(LINES[name](), rng=seed)
        assert report.passed, str(report)


def constant_problem(manifold, value, slope=0.0):
    function = pymanopt.function.numpy(manifold)
    return pymanopt.Problem(
        manifold,
        function(lambda X: value),
        euclidean_gradient=function(lambda X: slope * np.cos(np.arange(X.size)).reshape(X.shape)),
        euclidean_hessian=function(lambda X, V: slope * V),
    )


@pytest.mark.parametrize("manifold", [pm.Sphere(4), Grassmann(6, 2), RegularizedGrassmann(3, 2, 0.1)], ids=str)
@pytest.mark.parametrize("value", [3.0, -1e-20, 1e20, 1 / 3])
def test_a_constant_cost_with_derivatives_zero_passes(manifold, value):
    for check in (check_gradient, check_hessian):
        for seed in range(2):
            report = check(constant_problem(manifold, value), rng=seed)
            assert report.passed, str(report)
            start = next(each for each in report.checks if each.name == "start of the curve")
            assert start.bound < 1e-8
        assert not check(constant_problem(manifold, value, 1e-3 * value), rng=0).passed


def rotated(X):
    return X @ np.array([[0.6, -0.8], [0.8, 0.6]])


OURS, THEIRS = Grassmann(6, 2), pm.Grassmann(6, 2)
WRONG = {
    "transport of everything is zero": (
        "transport",
        lambda s, x, y, v: 0.0 * v,
        {"transport to the same point", "transport nearby"},
    ),
    "transport turns back": (
        "transport",
        lambda s, x, y, v: -THEIRS.transport(x, y, v),
        {"transport to the same point", "transport onward"},
    ),
    "transport turns back but at the start": (
        "transport",
        lambda s, x, y, v: v if np.array_equal(x, y) else -THEIRS.transport(x, y, v),
        {"transport onward"},
    ),
    "transport is zero but at the start": (
        "transport",
        lambda s, x, y, v: v if np.array_equal(x, y) else 0.0 * v,
        {"transport nearby", "transport onward"},
    ),
    "parallel transport turns back": (
        "parallel_transport",
        lambda s, x, d, v: -OURS.parallel_transport(x, d, v),
        {"parallel transport by zero", "parallel transport of the direction"},
    ),
    "parallel transport rotates": (
        "parallel_transport",
        lambda s, x, d, v: rotated(OURS.parallel_transport(x, d, v)),
        {"parallel transport by zero", "parallel transport of the direction"},
    ),
    "parallel transport rotates but at the start": (
        "parallel_transport",
        lambda s, x, d, v: (rotated if np.any(d) else np.copy)(OURS.parallel_transport(x, d, v)),
        {"parallel transport of the direction"},
    ),
    "projection is the identity": ("projection", lambda s, x, v: v, {"dimension"}),
    "projection onto less": (
        "projection",
        lambda s, x, v: (v - x @ (x.T @ v)) * [1.0, 0.0],
        {"dimension"},
    ),
    "dim is too large": ("dim", property(lambda s: 9), {"dimension"}),
    "dim is too small": ("dim", property(lambda s: 7), {"dimension"}),
    "everything is a point": ("is_point", lambda s, x: True, {"is_point"}),
    "the mean is the first point": ("mean", lambda s, x: x[0], {"mean"}),
}


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_law_is_noticed(name, ours):
    method, replacement, laws = WRONG[name]
    for seed in range(2):
        changed = mutant(Grassmann(6, 2) if ours else pm.Grassmann(6, 2), **{method: replacement})
        report = check_manifold(changed, rng=seed)
        assert laws <= {check.name for check in report.failures}, str(report)


@pytest.mark.parametrize("hidden", [True, False])
def test_a_remainder_at_single_precision_is_no_false_alarm(hidden):
    M = Grassmann(6, 2)
    numpy_function = pymanopt.function.numpy(M)
    if hidden:
        cost = numpy_function(lambda X: float(torch_cost(torch.float32)(torch.from_numpy(X))))
    else:
        cost = pymanopt.function.pytorch(M)(torch_cost(torch.float32))
    for seed in range(6):
        for factor in (1.0, 1.001):
            case = pymanopt.Problem(M, cost, euclidean_gradient=numpy_function(lambda X, c=factor: c * A @ X))
            report = check_gradient(case, rng=seed)
            assert report.passed is (factor == 1.0), str(report)


class Single(Grassmann):
    def random_point(self, rng=None):
        return super().random_point(rng).astype(np.float32)


def test_a_manifold_at_single_precision_passes():
    for seed in range(8):
        report = check_manifold(Single(12, 3), rng=seed)
        assert report.passed, str(report)


def test_a_direction_that_is_not_tangent_is_refused():
    M = Grassmann(6, 2)
    case = constant_problem(M, 1.0)
    X = M.random_point(0)
    V = M.random_tangent_vector(X, 0)
    for check in (check_gradient, check_hessian):
        assert check(case, point=X, tangent_vector=V, rng=0).passed
        with pytest.raises(ValueError, match="tangent_vector must be tangent at the point"):
            check(case, point=X, tangent_vector=V + 1e-3 * X, rng=0)


def test_a_manifold_that_does_not_fix_its_own_tangent_vectors_refuses_none():
    M = pm.Elliptope(6, 3)
    X, case = M.random_point(), constant_problem(M, 1.0)
    assert check_gradient(case, point=X, tangent_vector=M.random_tangent_vector(X), rng=0).passed


@pytest.mark.parametrize(
    ("cost", "name"),
    [
        (lambda x: np.nan, "cost is finite"),
        (lambda x: np.inf, "cost is finite"),
        (lambda x: np.log(np.sum(x) * 0.0), "cost is finite"),
        (lambda x: 0.0 if abs(x[0] - 1.0) < 1e-14 else np.inf, "cost is finite, random 1"),
    ],
)
def test_a_cost_that_is_not_finite_is_told_without_warnings(cost, name):
    M = pm.Euclidean(3)
    function = pymanopt.function.numpy(M)
    case = pymanopt.Problem(
        M, function(cost), euclidean_gradient=function(lambda x: x), euclidean_hessian=function(lambda x, v: v)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for check in (check_gradient, check_hessian):
            report = check(case, point=np.ones(3), rng=0)
            assert name in {each.name for each in report.failures}, str(report)
            assert "The cost" in str(report)


def test_derivatives_that_are_not_finite_are_told_without_warnings():
    M = pm.Euclidean(3)
    function = pymanopt.function.numpy(M)
    case = pymanopt.Problem(
        M,
        function(lambda x: 0.5 * np.sum(x * x)),
        euclidean_gradient=function(lambda x: np.full(3, np.inf)),
        euclidean_hessian=function(lambda x, v: np.full(3, np.nan)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [each.name for each in check_gradient(case, rng=0).failures] == ["gradient is finite"]
        assert [each.name for each in check_hessian(case, rng=0).failures] == ["Hessian is finite"]


def test_a_cost_with_a_barrier_is_looked_at_inside_it():
    M = pm.Euclidean(3)
    function = pymanopt.function.numpy(M)
    case = pymanopt.Problem(
        M,
        function(lambda x: -np.sum(np.log(x))),
        euclidean_gradient=function(lambda x: -1 / x),
        euclidean_hessian=function(lambda x, v: v / x**2),
    )
    for check in (check_gradient, check_hessian):
        report = check(case, point=np.array([1.0, 2.0, 0.02]), rng=0)
        assert report.passed, str(report)

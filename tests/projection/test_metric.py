"""The pulled-back metric of the (regularised) Grassmannian: against dense formulas and against distances measured."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import differential_operator, from_function, mlp, under_operator
from manifolds import subspace_distance
from tests.cases import dense_case
from tests.laws import reduced as laws

NAMES = ("mlp-4", "mlp-5-5", "module", "function", "offset", "operator-4")
LAMS = [0.0, 1e-3, 1.0]


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_metric_formed(name, lam):
    case = dense_case(name, lam)
    laws.metric_law(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_metric_multiplied_with(name, lam):
    case = dense_case(name, lam)
    laws.metric_law(case.reduced, case.theta, case.reference, np.random.default_rng(0))


def travelled(reduced, theta, v, t):
    """d(theta, theta + t v)^2 / t^2, by the principal angles between the bases."""
    ahead, behind = (reduced.linearize(theta + s * t * v).projection.full_basis.numpy() for s in (0.5, -0.5))
    return float(subspace_distance(ahead, behind)) ** 2 / t**2


def richardson(reduced, theta, v, t=2e-3):
    """The limit at t = 0 of a quotient that is even in t."""
    return (4 * travelled(reduced, theta, v, t) - travelled(reduced, theta, v, 2 * t)) / 3


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function", "offset", "operator-4"])
def test_distances_on_the_grassmannian_are_those_of_the_metric(name, lam, weighted):
    case = dense_case(name, lam, weighted=weighted)
    point = case.reduced.linearize(case.theta)
    for seed in range(3):
        v = np.random.default_rng(seed).standard_normal(case.theta.size)
        v *= 0.05 / np.linalg.norm(v)
        expected = richardson(case.reduced, case.theta, v, 0.1)
        assert float(v @ point.metric_product(torch.from_numpy(v)).numpy()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function"])
def test_distances_are_those_of_the_formed_metric_too(name, lam):
    case = dense_case(name, lam)
    G = case.reduced.linearize(case.theta).metric().numpy()
    v = 0.05 * np.random.default_rng(0).standard_normal(case.theta.size)
    assert v @ G @ v == pytest.approx(richardson(case.reduced, case.theta, v, 0.1), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_symmetric_and_positive_semidefinite(name):
    case = dense_case(name, 0.0)
    G = case.reduced.linearize(case.theta).metric().numpy()
    laws.close(G, G.T, 1e-12 * laws.norm(G), "symmetry")
    assert np.linalg.eigvalsh(G)[0] > -1e-12 * np.linalg.norm(G)


@pytest.mark.parametrize("lam", [0.0, 1e-3])
def test_the_formula_of_the_regularized_grassmannian(lam):
    """THEORY B2: lam <(Phi Phi^T + lam I)^-1 D (Phi^T Phi + lam I)^-1, D> for a displacement D of the features."""
    case = dense_case("function", lam, weighted=False)
    point = case.reduced.linearize(case.theta)
    Phi, v = point.derivatives.values.numpy(), np.array([0.3, -1.0, 0.5])
    D = point.derivatives.pushforward(torch.from_numpy(v)).numpy()
    inner = np.linalg.inv(Phi.T @ Phi + lam * np.eye(3))
    outer = np.eye(30) - Phi @ inner @ Phi.T
    assert float(v @ point.metric_product(torch.from_numpy(v)).numpy()) == pytest.approx(
        np.trace((outer @ D @ inner).T @ D), rel=1e-8
    )
    if lam:
        np.testing.assert_allclose(outer, lam * np.linalg.inv(Phi @ Phi.T + lam * np.eye(30)), atol=1e-10)


def test_what_does_not_move_the_span_has_no_length():
    """At lam = 0 scaling and mixing the features is nothing; at lam > 0 it is something."""
    x = np.linspace(0.5, 2.0, 12)
    model = lambda p, t: torch.stack([p[0] * torch.exp(-p[1] * t), t + p[2] * torch.exp(-p[1] * t)], 1)  # noqa: E731
    theta = np.array([1.5, 0.7, 0.3])
    for lam in (0.0, 0.5):
        problem = SeparableProblem(from_function(model, theta), x, np.sin(x), regularization=lam)
        point = ReducedProblem(problem).linearize(theta)
        for j, moves in enumerate([lam > 0, True, lam > 0]):
            e = torch.eye(3, dtype=torch.float64)[j]
            length = float(e @ point.metric_product(e))
            assert (length > 1e-4) == moves and (moves or abs(length) < 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_metric_has_the_type_of_the_problem(dtype):
    x = np.linspace(0, 1, 12).astype(dtype)
    operator = under_operator(mlp(1, (3,)), differential_operator(12, 1, {(0,): 1.0}))
    for features in (mlp(1, (3,)), mlp(1, (3, 2)), operator):
        problem = SeparableProblem(features, x, np.sin(3 * x))
        point = ReducedProblem(problem).linearize(problem.initial_parameters)
        G, Gv = point.metric(), point.metric_product(torch.ones_like(point.parameters))
        assert str(G.dtype) == str(Gv.dtype) == f"torch.{np.dtype(dtype)}"
        assert bool(torch.isfinite(G).all()) and bool(torch.isfinite(Gv).all())

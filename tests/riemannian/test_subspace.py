"""subspace_problem against dense formulas, finite differences and the manifolds' own checks."""

import numpy as np
import pytest
import torch

from grassvp.riemannian import subspace_problem
from grassvp.riemannian.memo import Memo, content
from manifolds import Grassmann, RegularizedGrassmann, check_gradient, check_hessian
from tests.riemannian.cases import central, dense_value, random_tangent, targets, toy

CASES = [(8, 2, 4, 0.0), (8, 5, 2, 0.0), (6, 1, 1, 0.0), (8, 2, 4, 0.3), (5, 4, 3, 1e-3), (4, 6, 2, 0.1)]


@pytest.mark.parametrize(("m", "n", "k", "lam"), CASES)
def test_value_and_derivatives_match_their_definitions(m, n, k, lam):
    rng = np.random.default_rng(m + n)
    Y = rng.standard_normal((m, k))
    problem = subspace_problem(Y, n, regularization=lam)
    manifold, X = problem.manifold, problem.manifold.random_point(rng)
    assert isinstance(manifold, RegularizedGrassmann if lam else Grassmann)
    assert problem.cost(X) == pytest.approx(dense_value(Y, lam, X), rel=1e-13)
    D, M = random_tangent(manifold, X, rng), Y @ Y.T
    if lam == 0.0:
        outside = np.eye(m) - X @ X.T
        gradient, hessian = -outside @ M @ X, -outside @ M @ D + D @ (X.T @ M @ X)
    else:
        G = np.linalg.inv(X.T @ X + lam * np.eye(n))
        gradient = -M @ X
        hessian = -M @ D + D @ G @ X.T @ M @ X + M @ X @ G @ X.T @ D
    np.testing.assert_allclose(problem.riemannian_gradient(X), gradient, rtol=0, atol=1e-12 * problem.scale)
    np.testing.assert_allclose(problem.riemannian_hessian(X, D), hessian, rtol=0, atol=1e-11 * problem.scale)


@pytest.mark.parametrize(("m", "n", "k", "lam"), CASES)
def test_derivatives_match_finite_differences_along_geodesics(m, n, k, lam):
    """d/dt f = <grad f, D> and D<grad f, D> = <Hess f[D], D> along a geodesic, where D is carried parallel."""
    rng = np.random.default_rng(7)
    problem = subspace_problem(rng.standard_normal((m, k)), n, regularization=lam)
    manifold, X = problem.manifold, problem.manifold.random_point(rng)
    D = 0.3 * manifold.random_tangent_vector(X, rng)

    def slope(t):
        Z = manifold.exp(X, t * D)
        return manifold.inner_product(Z, problem.riemannian_gradient(Z), manifold.parallel_transport(X, t * D, D))

    scale = problem.scale
    assert manifold.inner_product(X, problem.riemannian_gradient(X), D) == pytest.approx(
        central(lambda t: problem.cost(manifold.exp(X, t * D))), abs=1e-9 * scale
    )
    assert manifold.inner_product(X, problem.riemannian_hessian(X, D), D) == pytest.approx(
        central(slope), abs=1e-9 * scale
    )
    # a linear map into the tangent space, symmetric in the metric
    E = manifold.random_tangent_vector(X, rng)
    left = manifold.inner_product(X, problem.riemannian_hessian(X, D), E)
    assert left == pytest.approx(manifold.inner_product(X, D, problem.riemannian_hessian(X, E)), abs=1e-12 * scale)


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_the_manifolds_own_checks_pass_and_notice_a_wrong_factor(lam):
    problem = toy(2, regularization=lam)
    assert check_gradient(problem, rng=0).passed and check_hessian(problem, rng=0).passed
    gradient, hessian = problem._riemannian_gradient, problem._riemannian_hessian
    problem._riemannian_gradient = lambda X: 1.001 * gradient(X)
    problem._riemannian_hessian = lambda X, D: 1.01 * hessian(X, D)
    assert not check_gradient(problem, rng=0).passed and not check_hessian(problem, rng=0).passed


def test_small_residuals_keep_their_digits():
    """At an angle of 1e-9 from the range of Y the value is of size 1e-18 and known to 1e-6 relative."""
    Y = np.zeros((6, 2))
    Y[0, 0] = Y[1, 1] = 1.0
    U = np.zeros((6, 2))
    angle = 1e-9
    U[0, 0], U[2, 0], U[1, 1] = np.cos(angle), np.sin(angle), 1.0
    problem = subspace_problem(Y, 2)
    assert problem.cost(U) == pytest.approx(0.5 * np.sin(angle) ** 2, rel=1e-6)
    gradient = problem.riemannian_gradient(U)
    assert np.linalg.norm(U.T @ gradient) <= 1e-15 * np.linalg.norm(gradient)


def test_degenerate_problems_are_critical_everywhere():
    rng = np.random.default_rng(0)
    for problem in (subspace_problem(rng.standard_normal((4, 2)), 4), subspace_problem(np.zeros((5, 2)), 2)):
        X = problem.manifold.random_point(rng)
        assert np.linalg.norm(problem.riemannian_gradient(X)) <= 1e-14 * max(problem.scale, 1)


def test_arguments_are_taken_in_every_kind_and_not_kept():
    Y = targets()
    given = Y.copy()
    problem = subspace_problem(given, 2)
    given[:] = 0.0
    assert np.array_equal(problem.targets, Y) and not problem.targets.flags.writeable
    assert problem.scale == pytest.approx(np.sum(Y**2)) and problem.regularization == 0.0
    X = problem.manifold.random_point(0)
    for other in (torch.tensor(Y), Y.tolist(), np.asfortranarray(Y)):
        assert subspace_problem(other, 2).cost(X) == problem.cost(X)
    assert subspace_problem(Y[:, 0], 2).targets.shape == (8, 1)
    assert subspace_problem(np.arange(5), np.int64(2)).targets.dtype == np.float64
    assert "8 rows, 4 outputs" in repr(problem)


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"n": 9}, ValueError, "n must be at most 8"),
        ({"n": 0}, ValueError, "n must"),
        ({"n": 2.0}, TypeError, "n must"),
        ({"n": True}, TypeError, "n must"),
        ({"targets": np.full((8, 2), np.nan)}, ValueError, "targets"),
        ({"targets": np.full((8, 2), np.inf)}, ValueError, "targets"),
        ({"targets": np.ones((8, 2), complex)}, TypeError, "targets"),
        ({"targets": np.zeros((8, 0))}, ValueError, "targets"),
        ({"targets": np.zeros((8, 2, 1))}, ValueError, "targets"),
        ({"targets": 1.0}, ValueError, "targets"),
        ({"targets": "text"}, TypeError, "targets"),
        ({"regularization": -1.0}, ValueError, "regularization"),
        ({"regularization": np.nan}, ValueError, "regularization"),
        ({"regularization": "auto"}, TypeError, "regularization"),
    ],
)
def test_bad_arguments_are_named(change, error, name):
    arguments = {"targets": targets(), "n": 2} | change
    with pytest.raises(error, match=name):
        subspace_problem(arguments.pop("targets"), arguments.pop("n"), **arguments)


@pytest.mark.parametrize("lam", [0.0, 0.2])
def test_points_changed_in_place_are_seen(lam):
    """Value, gradient and Hessian asked for at one array that changes between the calls."""
    problem, rng = toy(2, regularization=lam), np.random.default_rng(0)
    manifold = problem.manifold
    X, Z = manifold.random_point(rng), manifold.random_point(rng)
    D = random_tangent(manifold, Z, rng)
    fresh = toy(2, regularization=lam)
    problem.cost(X)
    X[:] = Z
    assert problem.cost(X) == fresh.cost(Z)
    X[0, 0] += 0.5
    problem.riemannian_gradient(X)
    X[:] = Z
    np.testing.assert_array_equal(problem.riemannian_gradient(X), fresh.riemannian_gradient(Z))
    np.testing.assert_array_equal(problem.riemannian_hessian(X, D), fresh.riemannian_hessian(Z, D))
    problem.riemannian_gradient(X)[:] = 0.0  # what was returned is the caller's
    np.testing.assert_array_equal(problem.riemannian_gradient(X), fresh.riemannian_gradient(Z))


def test_the_memo_shares_one_evaluation_and_is_bounded():
    calls = []
    memo = Memo(lambda point: calls.append(1) or float(np.sum(point)), size=2)
    X = np.ones((2, 3))
    assert memo(X) == memo(X.copy()) == memo(np.asfortranarray(X)) == 6.0 and len(calls) == 1
    X[0, 0] = 2.0
    assert memo(X) == 7.0 and len(calls) == 2
    for i in range(10):
        memo(X + i)
    assert len(memo) == 2
    assert content([X, X[0]]) != content([X, X[1]]) and content(X) != content(X.reshape(3, 2))
    assert content(X) != content(X.astype(np.float32))


def test_a_memo_by_identity_would_fail():
    """The mutation that the tests above guard against."""
    results = {}

    def by_identity(point):
        return results.setdefault(id(point), float(np.sum(point)))

    X = np.ones(3)
    by_identity(X)
    X[0] = 5.0
    assert by_identity(X) != Memo(lambda point: float(np.sum(point)))(X)

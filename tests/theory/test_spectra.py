"""Hessians in orthonormal coordinates against differences of dense values, on every kind of manifold."""

import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import Euclidean, Sphere, Stiefel, SymmetricPositiveDefinite

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import mlp
from grassvp.riemannian.subspace import subspace_problem
from grassvp.theory import hessian_matrix, hessian_spectrum
from manifolds import Grassmann, RegularizedGrassmann
from manifolds.tangents import tangent_chart
from tests.theory.oracles import (
    complement,
    difference_hessian,
    grassmann_hessian,
    regularized_value,
    targets_with,
)

MANIFOLDS = [
    (Grassmann(6, 2), None),
    (Grassmann(5, 4), None),
    (Grassmann(4, 4), None),
    (Grassmann(5, 2, k=2), None),
    (RegularizedGrassmann(5, 2, 0.3), None),
    (RegularizedGrassmann(2, 4, 1e-3), None),
    (Euclidean(4), np.arange(4.0)),
    (Sphere(5), np.eye(5)[1]),
    (Stiefel(5, 2), np.eye(5)[:, :2]),
    (SymmetricPositiveDefinite(3), np.diag([1.0, 2.0, 5.0]) + 0.3),
]


@pytest.mark.parametrize(("manifold", "point"), MANIFOLDS, ids=lambda value: str(value)[:40])
def test_charts_are_isometries_onto_the_tangent_space(manifold, point):
    point = manifold.random_point(rng=0) if point is None else point
    chart, rng = tangent_chart(manifold, point), np.random.default_rng(0)
    assert chart.dimension == manifold.dim
    for _ in range(5):
        a, b = rng.standard_normal((2, chart.dimension))
        u, v = chart.tangent_vector(a), chart.tangent_vector(b)
        assert np.allclose(manifold.projection(point, u), u, atol=1e-13 * (1 + np.linalg.norm(u)))
        inner = float(manifold.inner_product(point, u, v))
        assert inner == pytest.approx(float(a @ b), abs=2e-13 * (1 + chart.dimension))
        assert np.allclose(chart.coordinates(u), a, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 2), (5, 4), (7, 1)])
def test_grassmann_hessian_at_points_that_are_not_critical(shape):
    m, n = shape
    Y = targets_with([3.0, 2.0, 0.5], m, 1)
    U = np.linalg.qr(np.random.default_rng(2).standard_normal((m, n)))[0]
    measured = np.linalg.eigvalsh(grassmann_hessian(Y, U))
    assert np.allclose(hessian_spectrum(subspace_problem(Y, n), U).eigenvalues, measured, atol=1e-7)


@pytest.mark.parametrize(("m", "n", "lam"), [(5, 2, 0.5), (3, 4, 2.0)])
def test_regularised_hessian_is_in_the_metric_of_the_chart(m, n, lam):
    """At Phi^T Y = 0 the value is critical, and its Hessian in the metric is G^-1/2 H G^-1/2 for dense H and G."""
    Y = targets_with([3.0, 1.0], m, 0)
    Phi = complement(np.linalg.svd(Y, full_matrices=False)[0]) @ np.random.default_rng(0).standard_normal((m - 2, n))
    H = difference_hessian(lambda z: regularized_value(Y, Phi + z.reshape(m, n), lam), m * n)
    S, G = Phi @ Phi.T + lam * np.eye(m), Phi.T @ Phi + lam * np.eye(n)
    metric = lam * np.kron(np.linalg.inv(S), np.linalg.inv(G))
    L = np.linalg.cholesky(metric)
    measured = np.linalg.eigvalsh(np.linalg.solve(L, np.linalg.solve(L, H).T))
    spectrum = hessian_spectrum(subspace_problem(Y, n, regularization=lam), Phi)
    assert np.allclose(spectrum.eigenvalues, measured, atol=1e-6)
    assert np.allclose(spectrum.eigenvalues, np.sort([*[-3.0] * n, *[-1.0] * n, *[0.0] * (n * (m - 2))]), atol=1e-13)


def test_rayleigh_quotient_on_a_foreign_sphere():
    A, manifold = np.diag([1.0, 2.0, 4.0, 7.0]), Sphere(4)

    @pymanopt.function.numpy(manifold)
    def cost(x):
        return 0.5 * x @ A @ x

    @pymanopt.function.numpy(manifold)
    def gradient(x):
        return A @ x

    @pymanopt.function.numpy(manifold)
    def hessian(x, v):
        return A @ v

    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)
    assert np.allclose(hessian_spectrum(problem, np.eye(4)[1]).eigenvalues, [-1.0, 2.0, 5.0], atol=1e-14)


def test_reduced_problems_have_the_plain_hessian():
    rng = np.random.default_rng(0)
    reduced = ReducedProblem(SeparableProblem(mlp(1, (2,)), np.linspace(-1, 1, 9), rng.standard_normal(9)))
    theta = np.array([1.5, -2.5, 0.7, 0.4])
    measured = difference_hessian(lambda z: reduced.value(theta + z), theta.size)
    assert np.allclose(hessian_matrix(reduced, theta), measured, atol=1e-6 * np.abs(measured).max())


def test_lanczos_ends_lie_within_their_bounds():
    Y = targets_with([4.0, 3.0, 2.5, 1.0], 40, 0)
    U = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 5)))[0]
    problem = subspace_problem(Y, 5)
    full = hessian_spectrum(problem, U)
    ends = hessian_spectrum(problem, U, dense_limit=10, count=6)
    assert full.complete and not ends.complete and full.eigenvalues.size == 175
    assert ends.errors.max() < 1e-6
    for value, error in zip(ends.eigenvalues, ends.errors, strict=True):
        assert np.abs(full.eigenvalues - value).min() <= error + 1e-13
    assert np.allclose(ends.eigenvalues[[0, -1]], full.eigenvalues[[0, -1]], atol=1e-10)
    assert "12 of 175" in repr(ends) and "all 175" in repr(full)


def test_an_asymmetric_hessian_is_noticed():
    problem = subspace_problem(targets_with([3.0, 1.0], 6, 0), 2)
    U = problem.manifold.random_point(rng=0)
    assert hessian_spectrum(problem, U).defect < 1e-14

    @pymanopt.function.numpy(problem.manifold)
    def wrong(point, vector):
        return problem.riemannian_hessian(point, vector) + 0.01 * problem.manifold.projection(point, np.tri(6) @ vector)

    @pymanopt.function.numpy(problem.manifold)
    def zero(point):
        return 0.0

    @pymanopt.function.numpy(problem.manifold)
    def none(point):
        return np.zeros_like(point)

    mutant = pymanopt.Problem(problem.manifold, zero, riemannian_gradient=none, riemannian_hessian=wrong)
    assert hessian_spectrum(mutant, U).defect > 1e-3


def test_eigenvectors_are_directions_of_that_curvature():
    problem = subspace_problem(targets_with([3.0, 1.0], 6, 0), 2)
    U = problem.manifold.random_point(rng=0)
    spectrum = hessian_spectrum(problem, U)
    for i in (0, 3, 7):
        v = spectrum.tangent_vector(i)
        assert np.allclose(problem.riemannian_hessian(U, v), spectrum.eigenvalues[i] * v, atol=1e-14)

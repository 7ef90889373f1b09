"""pymanopt's own solvers run unchanged on both manifolds and reach what the theory says they must."""

import math

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions

from manifolds import Grassmann, RegularizedGrassmann
from tests.manifolds.samples import orthogonal

SOLVERS = {
    # name: (optimizer, |gradient| that it must reach from |Y|^2 = 6: the first two stall near rounding of the value)
    "steepest descent": (lambda: SteepestDescent(max_iterations=500, min_gradient_norm=1e-6, verbosity=0), 1e-5),
    "conjugate gradient": (lambda: ConjugateGradient(max_iterations=500, min_gradient_norm=1e-6, verbosity=0), 1e-5),
    "trust regions": (lambda: TrustRegions(max_iterations=100, min_gradient_norm=1e-9, verbosity=0), 1e-8),
}
MU = np.array([3.0, 1.5, 1.0, 0.4, 0.1])
Y = orthogonal(8, 1)[:, :5] * np.sqrt(MU) @ orthogonal(5, 2)


def subspace_problem(manifold, backend):
    """1/2 |(I - X X^T) Y|^2."""

    if backend == "autograd":

        @pymanopt.function.autograd(manifold)
        def cost(X):
            outside = Y - X @ (X.T @ Y)
            return 0.5 * anp.sum(outside**2)

        return pymanopt.Problem(manifold, cost)

    @pymanopt.function.numpy(manifold)
    def cost(X):
        return 0.5 * np.sum((Y - X @ (X.T @ Y)) ** 2)

    @pymanopt.function.numpy(manifold)
    def gradient(X):  # of 1/2 |Y|^2 - 1/2 |X^T Y|^2, equal to the cost where X is orthonormal
        return -Y @ (Y.T @ X)

    @pymanopt.function.numpy(manifold)
    def hessian(X, D):
        return -Y @ (Y.T @ D)

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def value_problem(manifold, penalty, backend):
    """1/2 |Y - Phi C|^2 + lam/2 |C|^2 at the best C, plus penalty/2 |Phi|^2."""
    lam, eye = manifold.regularization, np.eye(manifold.n)

    def value(Phi, xp):
        C = xp.linalg.solve(Phi.T @ Phi + lam * eye, Phi.T @ Y)
        return 0.5 * xp.sum((Y - Phi @ C) ** 2) + 0.5 * lam * xp.sum(C**2) + 0.5 * penalty * xp.sum(Phi**2)

    if backend == "autograd":

        @pymanopt.function.autograd(manifold)
        def cost(Phi):
            return value(Phi, anp)

        return pymanopt.Problem(manifold, cost)

    @pymanopt.function.numpy(manifold)
    def cost(Phi):
        return value(Phi, np)

    @pymanopt.function.numpy(manifold)
    def gradient(Phi):
        C = np.linalg.solve(Phi.T @ Phi + lam * eye, Phi.T @ Y)
        return -(Y - Phi @ C) @ C.T + penalty * Phi

    @pymanopt.function.numpy(manifold)
    def hessian(Phi, D):
        G = Phi.T @ Phi + lam * eye
        C = np.linalg.solve(G, Phi.T @ Y)
        R = Y - Phi @ C
        dC = np.linalg.solve(G, D.T @ R - Phi.T @ (D @ C))
        return (D @ C + Phi @ dC) @ C.T - R @ dC.T + penalty * D

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


@pytest.mark.parametrize("backend", ["numpy", "autograd"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_subspace_problem_reaches_its_global_minimum(solver, backend):
    """A3: 1/2 sum_{i > n} mu_i, and the leading subspace of Y Y^T."""
    M = Grassmann(8, 2)
    make, tolerance = SOLVERS[solver]
    problem = subspace_problem(M, backend)
    result = make().run(problem, initial_point=M.random_point(3))
    assert float(result.cost) == pytest.approx(0.5 * MU[2:].sum(), rel=1e-10)
    assert float(M.norm(result.point, problem.riemannian_gradient(result.point))) <= tolerance
    # the gap mu_2 - mu_3 = 0.5 turns a gradient into an angle
    assert float(M.dist(result.point, orthogonal(8, 1)[:, :2])) <= 3 * tolerance / 0.5
    assert M.is_point(result.point)


@pytest.mark.parametrize("solver", SOLVERS)
def test_from_pymanopts_own_random_start(solver):
    """Without an initial point a solver calls random_point()."""
    result = SOLVERS[solver][0]().run(subspace_problem(Grassmann(8, 3), "numpy"))
    assert float(result.cost) == pytest.approx(0.5 * MU[3:].sum(), rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_product_of_grassmannians(solver):
    M = Grassmann(8, 2, k=2)
    targets = np.stack([Y, Y[::-1]])

    @pymanopt.function.autograd(M)
    def cost(X):
        inside = anp.einsum("kin,kij->knj", X, targets)
        return 0.5 * anp.sum(targets**2) - 0.5 * anp.sum(inside**2)

    result = SOLVERS[solver][0]().run(pymanopt.Problem(M, cost), initial_point=M.random_point(1))
    assert float(result.cost) == pytest.approx(MU[2:].sum(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("solver", [SteepestDescent, ConjugateGradient, TrustRegions])
def test_value_decreases_toward_what_no_finite_point_attains(solver, rank):
    """B4: from rank rho the infimum is 1/2 sum_{i > rho} mu_i; a few steps keep the rank, approach it, Phi grows."""
    M = RegularizedGrassmann(8, 3, 0.05)
    rng = np.random.default_rng(0)
    start = 0.3 * rng.standard_normal((8, rank)) @ rng.standard_normal((rank, 3))
    problem, infimum = value_problem(M, 0.0, "numpy"), 0.5 * MU[rank:].sum()
    result = solver(max_iterations=6, verbosity=0).run(problem, initial_point=start)
    assert infimum < float(result.cost) < infimum + 0.5 * (float(problem.cost(start)) - infimum)
    sizes = np.linalg.svd(result.point, compute_uv=False)
    assert sizes[rank - 1] > 0.05 and np.all(sizes[rank:] < 1e-8 * sizes[0])
    assert sizes[0] > np.linalg.norm(start, 2)


def penalised_minimum(lam, penalty, n) -> float:
    """Along the n leading directions lam mu / (2 (s + lam)) + penalty s / 2 is least over s = sigma^2 >= 0."""
    best = np.maximum(np.sqrt(lam * MU[:n] / penalty) - lam, 0.0)
    return float(0.5 * (lam * MU[:n] / (best + lam) + penalty * best).sum() + 0.5 * MU[n:].sum())


@pytest.mark.parametrize("backend", ["numpy", "autograd"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_penalised_value_reaches_its_closed_form_minimum(solver, backend):
    """With a penalty on Phi there is a minimum; it is critical and has the closed form."""
    M, penalty = RegularizedGrassmann(8, 3, 0.05), 0.1
    problem = value_problem(M, penalty, backend)
    make, tolerance = SOLVERS[solver]
    result = make().run(problem, initial_point=0.3 * np.random.default_rng(1).standard_normal((8, 3)))
    assert float(result.cost) == pytest.approx(penalised_minimum(0.05, penalty, 3), rel=1e-9)
    assert float(M.norm(result.point, problem.riemannian_gradient(result.point))) <= 3 * tolerance
    sizes = np.linalg.svd(result.point, compute_uv=False) ** 2
    np.testing.assert_allclose(sizes, np.sqrt(0.05 * MU[:3] / penalty) - 0.05, rtol=0, atol=1e-3)


def test_trust_regions_use_the_hessian():
    """Quadratic convergence: far fewer outer iterations than steepest descent needs for a looser gradient."""
    M = Grassmann(8, 2)
    problem, start = subspace_problem(M, "numpy"), M.random_point(3)
    newton = TrustRegions(min_gradient_norm=1e-9, verbosity=0).run(problem, initial_point=start)
    descent = SteepestDescent(min_gradient_norm=1e-6, max_iterations=500, verbosity=0).run(problem, initial_point=start)
    assert newton.iterations <= 12 < descent.iterations
    assert math.isfinite(newton.gradient_norm) and newton.gradient_norm <= 1e-9

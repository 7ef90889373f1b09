"""Problems, points and slow references shared by the tests of grassvp.riemannian."""

import numpy as np
import pymanopt
import torch

from grassvp import SeparableProblem, features
from grassvp.riemannian import subspace_problem

SOLVERS = ("trust-region", "conjugate-gradient", "steepest-descent")
MU = np.array([3.0, 1.5, 1.0, 0.4])


def orthogonal(m, n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((m, n)))[0]


def targets(mu=MU, m=8, seed=1):
    """Y (m, k) with Y Y^T of eigenvalues mu and zeros."""
    k = len(mu)
    return orthogonal(m, k, seed) * np.sqrt(mu) @ orthogonal(k, k, seed + 1).T


def least_value(mu, n):
    """A3: 1/2 sum over i > n of mu_i."""
    return 0.5 * float(np.sort(mu)[::-1][n:].sum())


def toy(n=2, mu=MU, **options):
    return subspace_problem(targets(mu), n, **options)


def network(widths=(4,), lam=1e-3, activation="tanh", weighted=False, seed=1):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (30, 2))
    Y = np.stack([np.sin(2 * x[:, 0]), x[:, 0] * x[:, 1]], axis=1)
    weights = rng.uniform(0.5, 2, 30) if weighted else None
    module = features.mlp(2, widths, activation=activation, seed=seed)
    return SeparableProblem(module, x, Y, weights=weights, regularization=lam)


def exponentials(lam=0.0):
    """A classical model, whose features no network gives; the closure holds a tensor that requires gradients."""
    shift = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)

    def function(theta, x):
        return torch.exp(-x[:, None] * theta[None, :] ** 2) + shift * x[:, None]

    x = np.linspace(0, 2, 25)
    Y = np.exp(-x) + np.cos(2 * x)
    return SeparableProblem(features.from_function(function, [0.5, 1.5, 2.5]), x, Y, regularization=lam), shift


def dense_value(Y, lam, Phi):
    """The value by its definition, with a dense projector or a dense ridge solve."""
    if lam == 0.0:
        return 0.5 * np.trace(Y.T @ (np.eye(len(Y)) - Phi @ Phi.T) @ Y)
    C = np.linalg.solve(Phi.T @ Phi + lam * np.eye(Phi.shape[1]), Phi.T @ Y)
    return 0.5 * np.sum((Y - Phi @ C) ** 2) + 0.5 * lam * np.sum(C**2)


def random_tangent(manifold, point, rng):
    draw = rng.standard_normal(np.shape(point))
    return manifold.projection(point, draw)


def central(function, h=1e-5):
    """Derivative at 0 by central differences of order four."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def rosenbrock(gradient=True, hessian=True, calls=None):
    """A problem that knows nothing of this package, with its own independent counts."""
    manifold = pymanopt.manifolds.Euclidean(2)
    calls = {"cost": 0, "gradient": 0, "hessian": 0} if calls is None else calls

    @pymanopt.function.numpy(manifold)
    def cost(x):
        calls["cost"] += 1
        return float((1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2)

    @pymanopt.function.numpy(manifold)
    def slope(x):
        calls["gradient"] += 1
        inner = x[1] - x[0] ** 2
        return np.array([-2 * (1 - x[0]) - 40 * x[0] * inner, 20 * inner])

    @pymanopt.function.numpy(manifold)
    def bend(x, v):
        calls["hessian"] += 1
        H = np.array([[2 - 40 * (x[1] - 3 * x[0] ** 2), -40 * x[0]], [-40 * x[0], 20]])
        return H @ v

    given = {}
    if gradient:
        given["riemannian_gradient"] = slope
    if hessian:
        given["riemannian_hessian"] = bend
    return pymanopt.Problem(manifold, cost, **given)

"""B5: ||grad_Phi f_lam||_F <= (3 sqrt 3 / 16) ||Y||_F^2 / sqrt(lam), whatever Phi is; attained, and by what."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import from_function
from grassvp.projection import project, projection
from tests.laws.reduced import EPS, norm

BOUND = 3.0 * math.sqrt(3.0) / 16.0


def matrix(rng, m, n):
    """Phi of any rank and scale: Gaussian, graded, low rank, duplicated, near-duplicated or sparse."""
    kind, A = rng.integers(6), rng.standard_normal((m, n))
    if kind == 1:
        A = np.linalg.qr(A)[0] @ np.diag(10.0 ** rng.uniform(-12, 2, min(m, n))) @ rng.standard_normal((min(m, n), n))
    elif kind == 2:
        rank = int(rng.integers(0, min(m, n) + 1))
        A = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    elif kind == 3:
        A[:, -1] = A[:, 0]
    elif kind == 4:
        A[:, -1] = A[:, 0] + 10.0 ** rng.uniform(-16, 0) * A[:, -1]
    elif kind == 5:
        A[rng.random((m, n)) < 0.7] = 0.0
    return A * 10.0 ** rng.uniform(-8, 8)


def extreme(rng, m, n, lam):
    """(Phi, Y): one output along the left vector of the singular value sqrt(lam / 3), the rest orthogonal to it."""
    U, V = np.linalg.qr(rng.standard_normal((m, m)))[0], np.linalg.qr(rng.standard_normal((n, n)))[0]
    rest = U[:, 1:n] @ np.diag(10.0 ** rng.uniform(-10, 4, n - 1)) @ V[:, 1:].T
    return math.sqrt(lam / 3.0) * np.outer(U[:, 0], V[:, 0]) + rest, 10.0 ** rng.uniform(-3, 3) * U[:, :1]


def ratio(Phi, Y, lam):
    """||R C^T||_F over the bound, by `project`."""
    solved = project(torch.from_numpy(Phi), torch.from_numpy(Y), lam)
    return (
        float(torch.linalg.matrix_norm(solved.residual @ solved.coefficients.T)) * math.sqrt(lam) / BOUND / norm(Y) ** 2
    )


def allowed(Phi, lam):
    """1 and what rounding may add: Phi is as good as one that is eps ||Phi|| away."""
    return 1.0 + 1e-12 + 20 * EPS * norm(Phi) / math.sqrt(lam)


def never_exceeded(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        m, n, k = rng.integers(1, 9, 3)
        Phi, Y = matrix(rng, m, n), rng.standard_normal((m, k)) * 10.0 ** rng.uniform(-6, 6)
        lam = 10.0 ** rng.uniform(-14, 14)
        assert ratio(Phi, Y, lam) <= allowed(Phi, lam)


@pytest.mark.parametrize("seed", range(15))
def test_never_exceeded_for_any_rank_and_any_scale(seed):
    never_exceeded(seed)


def attained(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    lam = 10.0 ** rng.uniform(-8, 8)
    Phi, Y = extreme(rng, n + 3, n, lam)
    found = ratio(Phi, Y, lam)
    assert 1.0 - 20 * EPS * norm(Phi) / math.sqrt(lam) - 1e-12 <= found <= allowed(Phi, lam)
    assert found >= 0.99 or norm(Phi) > 1e10 * math.sqrt(lam)


@pytest.mark.parametrize("seed", range(20))
def test_attained_by_the_construction_to_rounding(seed):
    attained(seed)


def test_either_side_of_the_extreme_singular_value_is_lower():
    rng = np.random.default_rng(1)
    Phi, Y = extreme(rng, 5, 1, 1e-4)
    values = [ratio(t * Phi, Y, 1e-4) for t in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert max(values) == values[2] and values[1] < 0.999 > values[3]


@pytest.mark.parametrize(("m", "n", "k"), [(4, 1, 1), (5, 2, 1), (4, 3, 2), (2, 4, 1)])
def test_numerical_maximisation_comes_to_the_bound_and_no_further(m, n, k):
    """L-BFGS over Phi from ten starts, the ratio by numpy alone; what it finds is looked at by the library."""
    lam, rng = 1e-3, np.random.default_rng([m, n, k])
    Y = rng.standard_normal((m, k))

    def negative(flat):
        A = flat.reshape(m, n)
        C = np.linalg.solve(A.T @ A + lam * np.eye(n), A.T @ Y)
        return -norm((Y - A @ C) @ C.T) * math.sqrt(lam) / BOUND / norm(Y) ** 2

    best = min((minimize(negative, 0.05 * rng.standard_normal(m * n)) for _ in range(10)), key=lambda found: found.fun)
    assert -best.fun <= 1.0 + 1e-9
    assert ratio(best.x.reshape(m, n), Y, lam) == pytest.approx(-best.fun, rel=1e-9)
    if k == 1:
        assert -best.fun >= 0.99
    else:  # ||R C^T||_F^2 = sum_i of c_i^2: with several outputs the bound needs Y of rank one
        assert 0.5 < -best.fun < 0.999


@pytest.mark.parametrize("lam", [1e-12, 1e-4, 1.0])
def test_the_gradient_of_a_reduced_problem_in_its_features_attains_it(lam):
    """Features that are their own parameters: the gradient of the value is the one in Phi."""
    rng = np.random.default_rng(3)
    Phi, Y = extreme(rng, 6, 2, lam)
    features = from_function(lambda p, x: p.reshape(6, 2), Phi.ravel())
    reduced = ReducedProblem(SeparableProblem(features, np.zeros(6), Y, regularization=lam))
    found = norm(reduced.gradient(Phi.ravel())) * math.sqrt(lam) / BOUND / norm(Y) ** 2
    assert 1.0 - 20 * EPS * norm(Phi) / math.sqrt(lam) - 1e-12 <= found <= allowed(Phi, lam)


def test_a_gradient_larger_by_a_percent_is_noticed(monkeypatch):
    right = projection._residual

    def louder(*args):
        upper, lower, inside = right(*args)
        return upper, lower, 1.01 * inside

    monkeypatch.setattr(projection, "_residual", louder)
    with pytest.raises(AssertionError):
        for seed in range(20):
            attained(seed)

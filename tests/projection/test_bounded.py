"""The linear solve with bounds on the coefficients, against scipy's solvers and the conditions of optimality."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, nnls

from grassvp.projection import bounded_projection, project
from tests import oracles
from tests.laws import reduced as laws
from tests.projection.test_projection import matrix, targets

EPS = laws.EPS
LAMS = [0.0, 1e-6, 1e-1]
BOUNDS = {
    "nonnegative": (0.0, math.inf),
    "box": (-0.1, 0.25),
    "unit box": (0.0, 1.0),
    "upper only": (-math.inf, 0.05),
    "far away": (-1e6, 1e6),
}
REGIMES = ("full", "duplicates", "zero columns", "wide", "square", "one column", "zero")


def full(value, shape):
    return torch.full(shape, value, dtype=torch.float64)


def solve(A, Y, lam, lower, upper):
    """The bounded projection; bounds are numbers or arrays (n, k)."""
    A, Y = torch.as_tensor(A), torch.as_tensor(Y)
    shape = (A.shape[1], Y.shape[1])
    low, high = (full(b, shape) if isinstance(b, float) else torch.as_tensor(b) for b in (lower, upper))
    return bounded_projection(project(A, Y, lam), A, Y, low, high)


def augmented(A, Y, lam):
    n, k = A.shape[1], Y.shape[1]
    if not lam:
        return A, Y
    return np.vstack([A, math.sqrt(lam) * np.eye(n)]), np.vstack([Y, np.zeros((n, k))])


def scipys(A, Y, lam, lower, upper):
    """Output by output: nnls for nonnegative coefficients, both methods of lsq_linear and the better for the others."""
    S, B = augmented(A, Y, lam)
    columns = []
    for b in B.T:
        if lower == 0.0 and upper == math.inf:
            columns.append(nnls(S, b)[0])
            continue
        with np.errstate(invalid="ignore"):  # the interior method divides by zero at times
            found = [lsq_linear(S, b, (lower, upper), m, tol=1e-15, max_iter=1000) for m in ("bvls", "trf")]
        columns.append(min(found, key=lambda each: each.cost).x)
    return np.stack(columns, axis=1)


def objective(A, Y, lam, C):
    return 0.5 * np.sum((A @ C - Y) ** 2, axis=0) + 0.5 * lam * np.sum(C**2, axis=0)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize(("lower", "upper"), BOUNDS.values(), ids=BOUNDS)
def test_solution_of_every_output_is_scipys(name, lam, lower, upper):
    A = matrix(name)
    Y = targets(A, 3)
    solution = solve(A, Y, lam, lower, upper)
    C = solution.coefficients.numpy()
    assert (lower <= C).all() and (upper >= C).all()
    expected = scipys(A, Y, lam, lower, upper)
    value, best = objective(A, Y, lam, C), objective(A, Y, lam, expected)
    np.testing.assert_allclose(value, best, rtol=1e-9, atol=1e-12 * laws.norm(Y) ** 2)
    assert solution.value == pytest.approx(value.sum(), rel=1e-11, abs=1e-25)
    if lam >= 1e-1 or name in ("full", "one column"):  # strictly convex and well conditioned
        np.testing.assert_allclose(C, expected, atol=1e-7)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize(("lower", "upper"), BOUNDS.values(), ids=BOUNDS)
def test_conditions_of_optimality_and_the_restriction_that_goes_with_them(name, lam, lower, upper):
    """No multiplier has the wrong sign; what is free spans the columns that the residual is orthogonal to."""
    A = matrix(name)
    Y = targets(A, 3)
    solution = solve(A, Y, lam, lower, upper)
    C, free = solution.coefficients.numpy(), solution.restriction.free.numpy()
    assert (C[~free] == np.where(C[~free] <= lower, lower, upper)).all()
    size = 1e-11 * laws.norm(A) * (laws.norm(Y) + laws.norm(A) * laws.norm(C)) + 1e-300
    multipliers = A.T @ (A @ C - Y) + lam * C
    assert (np.abs(multipliers[free]) <= size).all()
    assert (multipliers[~free & (lower >= C)] >= -size).all() and (multipliers[~free & (upper <= C)] <= size).all()
    laws.close(solution.residual, Y - A @ C, 1e-12 * (laws.norm(Y) + laws.norm(A) * laws.norm(C)), "Y - A C")
    if lam:
        laws.close(solution.residual_tail, -math.sqrt(lam) * C, 1e-12 * (1 + laws.norm(C)), "-sqrt(lam) C")
    S, Q = augmented(A, Y, lam)[0], solution.full_basis.numpy()
    for output, column in enumerate(free.T):
        P = Q @ solution.restriction.projectors[output].numpy() @ Q.T
        laws.close(P, oracles.projector(S * column), 1e-9, "projector onto the free columns")
        inverse = solution.restriction.factors[output].numpy().T @ Q.T
        expected = np.linalg.pinv(S * column, rcond=1e-12)
        laws.close(inverse, expected, 1e-9 * (1 + laws.norm(expected) ** 2), "its pseudo-inverse")


@pytest.mark.parametrize("condition", [1e2, 1e5])
@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.3, 0.5), (0.0, math.inf)], ids=str)
def test_random_problems_of_many_columns(bounds, lam, condition):
    """Many active sets, of both sides at once."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        m, n = int(rng.integers(12, 40)), int(rng.integers(2, 12))
        A = np.linalg.qr(rng.standard_normal((m, n)))[0] * np.geomspace(1.0, 1.0 / condition, n)
        A = A @ np.linalg.qr(rng.standard_normal((n, n)))[0]
        Y = A @ rng.uniform(-2.0, 2.0, (n, 2)) + 0.01 * rng.standard_normal((m, 2))
        found, expected = solve(A, Y, lam, *bounds).coefficients.numpy(), scipys(A, Y, lam, *bounds)
        gap = objective(A, Y, lam, found) - objective(A, Y, lam, expected)
        assert (gap <= 1e-10 * np.sum(Y**2, axis=0)).all(), (seed, gap)


def test_a_problem_that_takes_more_exchanges_than_columns():
    rng = np.random.default_rng(27)
    m, n = rng.integers(3, 40), rng.integers(1, 25)
    A = np.exp(-np.linspace(0, 4, m)[:, None] * np.linspace(0.2, 6, n))
    Y = rng.standard_normal((m, 3))
    found = solve(A, Y, 1e-3, -0.3, 0.5).coefficients.numpy()
    gap = objective(A, Y, 1e-3, found) - objective(A, Y, 1e-3, scipys(A, Y, 1e-3, -0.3, 0.5))
    assert (gap <= 1e-9 * np.sum(Y**2, axis=0)).all()


def test_bounds_of_their_own_for_every_coefficient():
    A = matrix("full")
    Y = targets(A, 2)
    free = project(torch.as_tensor(A), torch.as_tensor(Y)).coefficients.numpy()
    lower, upper = np.full((5, 2), -np.inf), np.full((5, 2), np.inf)
    lower[0, 0], upper[3, 0], lower[1, 1] = free[0, 0] + 0.5, free[3, 0] - 0.5, free[1, 1] - 0.5
    solution = solve(A, Y, 0.0, lower, upper)
    assert solution.coefficients[0, 0] == lower[0, 0] and solution.coefficients[3, 0] == upper[3, 0]
    held = [[False, True], [True, True], [True, True], [False, True], [True, True]]
    assert solution.restriction.free.tolist() == held
    laws.close(solution.coefficients[:, 1], free[:, 1], 1e-13, "an output whose bounds do not matter")
    rest = np.linalg.lstsq(
        A[:, [1, 2, 4]], Y[:, 0] - A[:, [0, 3]] @ solution.coefficients[[0, 3], 0].numpy(), rcond=None
    )
    laws.close(solution.coefficients[[1, 2, 4], 0], rest[0], 1e-13, "what is free is a least-squares solution")


@pytest.mark.parametrize("lam", LAMS)
def test_bounds_that_do_not_matter_change_nothing(lam):
    A = matrix("full")
    Y = targets(A)
    plain, bounded = project(torch.as_tensor(A), torch.as_tensor(Y), lam), solve(A, Y, lam, -1e3, 1e3)
    laws.close(bounded.coefficients, plain.coefficients, 1e-13, "C")
    laws.close(torch.cat(bounded.residual_parts), torch.cat(plain.residual_parts), 1e-13, "r")
    assert bool(bounded.restriction.free.all()) and bounded.rank == plain.rank


@pytest.mark.parametrize("lam", [0.0, 1e-3])
def test_where_nothing_is_free_the_residual_is_that_of_the_bounds(lam):
    A = np.abs(matrix("full"))
    Y = -np.abs(targets(A))
    solution = solve(A, Y, lam, 0.0, math.inf)
    assert not solution.coefficients.any() and not solution.restriction.free.any()
    assert torch.equal(solution.residual, torch.as_tensor(Y)) and not solution.restriction.projectors.any()


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (-0.1, 0.2)], ids=str)
@pytest.mark.parametrize("power", [-40, 30])
def test_units_of_the_targets(power, bounds):
    A = matrix("full")
    Y, scale = targets(A, 3), 2.0**power
    base, louder = solve(A, Y, 1e-3, *bounds), solve(A, scale * Y, 1e-3, *(scale * b for b in bounds))
    assert torch.equal(louder.restriction.free, base.restriction.free)
    laws.close(louder.coefficients / scale, base.coefficients, 1e-12, "C")
    laws.close(louder.residual / scale, base.residual, 1e-12, "r")


def test_float32_stays_float32_with_float64_factors():
    A = matrix("full").astype(np.float32)
    Y = targets(A, 3).astype(np.float32)
    low, high = torch.zeros(5, 3), torch.full((5, 3), 0.3)
    A, Y = torch.as_tensor(A), torch.as_tensor(Y)
    solution = bounded_projection(project(A, Y, 1e-3), A, Y, low, high)
    exact = solve(A.double(), Y.double(), 1e-3, 0.0, float(high[0, 0]))
    assert {t.dtype for t in (solution.coefficients, *solution.residual_parts)} == {torch.float32}
    assert solution.restriction.factors.dtype == torch.float64
    laws.close(solution.coefficients, exact.coefficients, 1e-5, "C")
    assert torch.equal(solution.restriction.free, exact.restriction.free)


def test_inputs_are_not_written():
    A, Y = torch.as_tensor(matrix("full")), torch.as_tensor(targets(matrix("full")))
    low, high = full(0.0, (5, 2)), full(0.1, (5, 2))
    unbounded = project(A, Y, 1e-2)
    before = [t.clone() for t in (A, Y, low, high, unbounded.coefficients, unbounded.residual)]
    bounded_projection(unbounded, A, Y, low, high)
    after = (A, Y, low, high, unbounded.coefficients, unbounded.residual)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))

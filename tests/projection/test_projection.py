"""The linear solve against mpmath, numpy and explicit formulas, in every rank regime."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from grassvp.errors import NonFiniteError
from grassvp.projection import default_rank_tolerance, project
from tests import oracles
from tests.laws import reduced as laws

EPS = laws.EPS


def matrix(name: str, rng=None) -> np.ndarray:
    """Feature matrices of every rank regime."""
    rng = np.random.default_rng(11) if rng is None else rng
    A = rng.standard_normal((12, 5))
    if name == "duplicates":
        A[:, 3], A[:, 4] = A[:, 0], A[:, 1]
    elif name == "zero columns":
        A[:, [0, 3]] = 0.0
    elif name == "wide":
        A = rng.standard_normal((4, 7))
    elif name == "wide and deficient":
        A = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 7))
    elif name == "square":
        A = A[:5]
    elif name == "graded":
        A = A * 10.0 ** -np.arange(0, 10, 2)
    elif name == "zero":
        A = np.zeros((6, 3))
    elif name == "one column":
        A = A[:, :1]
    return A


RANKS = {
    "full": 5,
    "duplicates": 3,
    "zero columns": 3,
    "wide": 4,
    "wide and deficient": 2,
    "square": 5,
    "graded": 5,
    "zero": 0,
    "one column": 1,
}


def solve(A, Y, lam=0.0, **options):
    return project(torch.as_tensor(A), torch.as_tensor(Y), lam, **options)


def targets(A, k=2, seed=3):
    return np.random.default_rng(seed).standard_normal((len(A), k))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("lam", [0.0, 1e-14, 1e-6, 1.0])
@pytest.mark.parametrize("name", RANKS)
def test_factors_and_residual(name, lam, k):
    A = matrix(name)
    Y = targets(A, k)
    solution = solve(A, Y, lam)
    m, n = A.shape
    augmented = np.vstack([A, math.sqrt(lam) * np.eye(n)]) if lam else A
    p = n if lam else RANKS[name]
    assert solution.full_basis.shape == (len(augmented), p) and solution.pseudo_factor.shape == (p, n)
    assert (solution.coefficients.shape, solution.residual.shape) == ((n, k), (m, k))
    laws.orthonormal_basis_law(solution)
    laws.orthogonal_residual_law(solution, torch.as_tensor(augmented), Y)
    r = torch.cat(solution.residual_parts).numpy()
    size = laws.norm(A) * laws.norm(solution.coefficients) + laws.norm(Y)
    laws.close(solution.residual, Y - A @ solution.coefficients.numpy(), 50 * EPS * size, "Y - A C")
    assert solution.value == pytest.approx(0.5 * laws.norm(r) ** 2, rel=1e-13, abs=1e-28)
    hat = oracles.projector(A, lam)
    laws.close(solution.basis @ solution.basis.T, hat, 100 * EPS * solution_condition(A), "projector")
    inverse = solution.pseudo_factor.T @ solution.full_basis.T
    expected = np.linalg.pinv(augmented, rcond=1e-12)
    bound = 100 * EPS * solution_condition(augmented) * max(laws.norm(expected), 1)
    laws.close(inverse[:, :m], expected[:, :m], bound, "pseudo-inverse")


def solution_condition(A) -> float:
    """Condition over the singular values above rounding."""
    s = np.linalg.svd(A, compute_uv=False)
    kept = s[s > 1e-12 * s.max(initial=1e-300)]
    return float(kept[0] / kept[-1]) if kept.size else 1.0


@pytest.mark.parametrize("name", RANKS)
def test_rank_singular_values_and_condition(name):
    A = matrix(name)
    plain, ridge = solve(A, targets(A)), solve(A, targets(A), 1e-4)
    assert plain.rank == ridge.rank == RANKS[name] == np.linalg.matrix_rank(A)
    s = oracles.mp_singular_values(A)
    laws.close(plain.singular_values, s, 20 * EPS * s[0], "singular values")
    if RANKS[name] == 0:
        assert plain.condition == math.inf and ridge.condition == 1.0
        return
    assert plain.condition == pytest.approx(s[0] / s[RANKS[name] - 1], rel=1e-6)
    lowest = s[-1] if A.shape[1] <= A.shape[0] else 0.0
    assert ridge.condition == pytest.approx(math.sqrt((s[0] ** 2 + 1e-4) / (lowest**2 + 1e-4)), rel=1e-6)


@pytest.mark.parametrize("name", RANKS)
def test_minimum_norm_at_zero_regularization(name):
    A = matrix(name)
    Y = targets(A)
    C, expected = solve(A, Y).coefficients, oracles.minimum_norm(A, Y, cut=1e-10)
    bound = 100 * EPS * solution_condition(A) * (laws.norm(expected) + solution_condition(A) * laws.norm(Y))
    laws.close(C, expected, bound, "minimum-norm coefficients")
    laws.close(C, np.linalg.pinv(A, rcond=1e-10) @ Y, bound, "pseudo-inverse times targets")


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-3])
@pytest.mark.parametrize("name", ["full", "graded", "one column"])
def test_coefficients_and_residual_against_mpmath(name, lam):
    A = matrix(name)
    Y = targets(A)
    with mp.workdps(50):
        parts = [[[mpf(v) for v in row] for row in M.tolist()] for M in (A, Y)]
        _, C, r = oracles.mp_solve(*parts, [mpf(1)] * len(A), mpf(lam))
        C, r = (oracles.to_array(part).astype(float) for part in (C, r))
    solution, s = solve(A, Y, lam), np.linalg.svd(A, compute_uv=False)
    kappa, gain = solution.condition, 1 / math.hypot(s[-1], math.sqrt(lam))
    bound = laws.SAFETY * EPS * kappa * (laws.norm(C) + gain * laws.norm(r))
    laws.close(solution.coefficients, C, bound, "C")
    laws.close(torch.cat(solution.residual_parts), r, laws.SAFETY * EPS * kappa * laws.norm(Y), "r")


def test_consistent_ill_conditioned_system_loses_one_power_of_the_condition_number():
    A = np.random.default_rng(0).integers(-8, 9, (12, 4)).astype(float)
    A[:, 3] = A[:, 0] + 2.0**-20 * A[:, 3]  # exact in binary, condition near 1e6
    Y = A @ np.ones((4, 1))
    kappa = np.linalg.cond(A)
    assert kappa > 1e5
    bound = laws.SAFETY * EPS * kappa * 2
    laws.close(solve(A, Y).coefficients, np.ones((4, 1)), bound, "C")
    with pytest.raises(AssertionError):  # the bound rejects the normal equations
        laws.close(np.linalg.solve(A.T @ A, A.T @ Y), np.ones((4, 1)), bound, "C")


@pytest.mark.parametrize("lam", [1e-14, 1e-12, 1e-6])
@pytest.mark.parametrize("name", ["duplicates", "zero columns", "wide"])
def test_gradient_with_deficient_features_and_tiny_regularization(name, lam):
    """-R C^T at exact duplicates, right to 1e-7 although A^T A + lam I is singular in float64: the contract."""
    A = matrix(name)
    Y = targets(A)
    with mp.workdps(60):
        parts = [[[mpf(v) for v in row] for row in M.tolist()] for M in (A, Y)]
        _, C, r = oracles.mp_solve(*parts, [mpf(1)] * len(A), mpf(lam))
        R = oracles.to_array(r[: len(A)])
        gradient = -(R @ oracles.to_array(C).T).astype(float)
    solution = solve(A, Y, lam)
    actual = -(solution.residual @ solution.coefficients.T)
    floor = EPS * laws.norm(Y) ** 2 * 10 * solution_condition(A)  # wide: R itself is of order lam
    laws.close(actual, gradient, 1e-7 * laws.norm(gradient) + floor, "gradient")
    assert laws.norm(solution.coefficients) <= 1.001 * laws.norm(oracles.minimum_norm(A, Y, cut=1e-10))


def test_near_duplicates_are_merged_at_the_default_tolerance_and_kept_below_it():
    A = matrix("duplicates")
    A[:, 3] += 1e-11 * np.arange(12.0)
    Y = targets(A)
    merged, kept = solve(A, Y), solve(A, Y, rank_tolerance=1e-14)
    assert (merged.rank, kept.rank) == (3, 4)
    assert laws.norm(merged.coefficients) < 10 < 1e8 < laws.norm(kept.coefficients)
    laws.orthogonal_residual_law(kept, torch.as_tensor(A), Y * laws.norm(kept.coefficients))
    assert default_rank_tolerance(12, 5, 0.0, torch.float64) == 1e-10
    assert default_rank_tolerance(12, 5, 1e-3, torch.float64) == 12 * EPS
    assert default_rank_tolerance(12, 5, 0.0, torch.float32) == 12 * float(torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("name", ["full", "duplicates", "wide"])
def test_float32_stays_float32_with_float64_factors(name, lam):
    A = matrix(name).astype(np.float32)
    Y = targets(A).astype(np.float32)
    solution, exact = solve(A, Y, lam), solve(A.astype(float), Y.astype(float), lam, rank_tolerance=1e-6)
    dtypes = {t.dtype for t in (solution.basis, solution.coefficients, *solution.residual_parts)}
    assert dtypes == {torch.float32} and solution.pseudo_factor.dtype == torch.float64
    eps = float(np.finfo(np.float32).eps)
    assert solution.rank == RANKS[name]
    laws.orthonormal_basis_law(solution)
    bound = 20 * eps * exact.condition * (laws.norm(exact.coefficients) + laws.norm(Y))
    laws.close(solution.coefficients, exact.coefficients, bound, "C")
    laws.close(solution.residual, exact.residual, 20 * eps * exact.condition * laws.norm(Y), "r")


@given(
    name=st.sampled_from([n for n in RANKS if n != "zero"]),
    seed=st.integers(0, 1000),
    lam=st.sampled_from([0.0, 1e-14, 1e-3]),
    power=st.integers(-40, 40),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_scaling(name, seed, lam, power):
    """Targets times 2^p scale C and r exactly; A times 2^p with lam times 4^p leaves r and divides C."""
    A = matrix(name, np.random.default_rng(seed))
    Y, scale = targets(A, seed=seed), 2.0**power
    base = solve(A, Y, lam)
    louder = solve(A, scale * Y, lam)
    np.testing.assert_array_equal(louder.coefficients, scale * base.coefficients)
    np.testing.assert_array_equal(torch.cat(louder.residual_parts), scale * torch.cat(base.residual_parts))
    scaled = solve(scale * A, Y, lam * scale**2)
    kappa = base.condition
    gain = laws.norm(base.pseudo_factor)
    assert scaled.rank == base.rank
    size = laws.norm(base.coefficients) + gain * laws.norm(torch.cat(base.residual_parts)) * kappa
    laws.close(scale * scaled.coefficients, base.coefficients, 50 * EPS * kappa * size, "C")
    laws.close(scaled.residual, base.residual, 50 * EPS * kappa * laws.norm(Y), "r")


@given(row=st.integers(0, 11), column=st.integers(0, 4), bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e308]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_non_finite_features(row, column, bad):
    A = np.full((12, 5), 1e308) if bad == 1e308 else matrix("full")
    A[row, column] = bad
    for lam in (0.0, 1e-3):
        with pytest.raises(NonFiniteError, match="12 x 5 feature matrix"):
            solve(A, targets(A), lam)
    wide = np.ascontiguousarray(A[:3])
    wide[row % 3, column] = bad
    with pytest.raises(NonFiniteError, match="3 x 5 feature matrix"):
        solve(wide, targets(wide))


def test_overflowing_coefficients():
    with pytest.raises(NonFiniteError, match="coefficients overflow"):
        solve(np.full((3, 1), 1e-300), np.full((3, 1), 1e300))


def test_inputs_are_not_written():
    A, Y = matrix("duplicates"), targets(matrix("duplicates"))
    before = A.copy(), Y.copy()
    solve(A, Y, 1e-3)
    solve(A, Y)
    np.testing.assert_array_equal(A, before[0])
    np.testing.assert_array_equal(Y, before[1])


def test_coordinates():
    A = matrix("full")
    solution, data = solve(A, targets(A), 1e-2), torch.as_tensor(targets(A, 6, seed=8)).view(-1, 3, 2)
    inside = solution.coordinates(data)
    laws.close(inside.flatten(1), solution.basis.T @ data.flatten(1), 1e-14, "inside")
    outside = data.flatten(1) - solution.basis @ inside.flatten(1)
    laws.close(outside, (np.eye(len(A)) - oracles.projector(A, 1e-2)) @ data.flatten(1).numpy(), 1e-13, "outside")
    below = torch.ones(A.shape[1], 3, 2, dtype=torch.float64)
    with_tail = inside.flatten(1) + solution.tail.T @ below.flatten(1)
    laws.close(solution.coordinates(data, below).flatten(1), with_tail, 1e-14, "with the lower block")
    L = solution.pseudo_factor
    laws.close(solution.dual_coordinates(below), torch.einsum("pn,nkq->pkq", L, below), 1e-14, "L T")
    laws.close(solution.dual_combination(inside[..., 0]), L.T @ inside[..., 0], 1e-14, "L^T N")


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-3])
@pytest.mark.parametrize("power", [-60, -40, 30])
def test_column_scaling_makes_the_rank_free_of_the_units_of_a_feature(lam, power):
    A, Y = (
        torch.randn(30, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
        torch.ones(30, 2).double(),
    )
    A[:, 4] = A[:, 0] + A[:, 1]  # rank 4 whatever the units
    D = torch.ones(5, dtype=torch.float64)
    D[2] = 2.0**power
    scaled = project(A * D, Y, lam, column_scaling=True)
    assert scaled.rank == 4
    if lam == 0.0:
        plain = project(A, Y, 0.0, column_scaling=True)
        np.testing.assert_allclose(scaled.residual, plain.residual, atol=1e-14)
        np.testing.assert_allclose(scaled.coefficients * D[:, None], plain.coefficients, atol=1e-13)
        assert project(A * D, Y).rank == (4 if power > -33 and power < 33 else (1 if power > 0 else 3))
    # normal equations of the ridge in the scaled unknown, solved in the factored form: A^T r = lam C
    gradient = (A * D).T @ scaled.residual - lam * scaled.coefficients
    size = torch.linalg.matrix_norm(A * D) * torch.linalg.matrix_norm(Y) + lam * torch.linalg.matrix_norm(
        scaled.coefficients
    )
    assert torch.linalg.matrix_norm(gradient) <= 1e-13 * size


@pytest.mark.parametrize("lam", [0.0, 1e-3])
def test_column_scaling_changes_nothing_at_full_rank(lam):
    A = torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    Y = torch.randn(20, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain, scaled = project(A, Y, lam), project(A, Y, lam, column_scaling=True)
    np.testing.assert_array_equal(plain.coefficients, scaled.coefficients)
    np.testing.assert_array_equal(plain.residual, scaled.residual)

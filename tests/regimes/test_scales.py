"""Conditions, ranks and coefficient bounds where features lose rank, at every scale of theirs."""

import math

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import from_function
from grassvp.projection import bounded, bounded_projection, project
from tests import oracles
from tests.laws.reduced import norm
from tests.projection.test_projection import matrix

SCALES = [1e-200, 1e-170, 1e-20, 1.0, 1e20, 1e160, 1e300]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["full", "duplicates", "zero columns", "wide and deficient"])
def test_the_condition_number_knows_no_overflow(name, scale):
    """Squares of singular values leave float64 beyond 1e154; the condition number does not know the scale."""
    A = torch.from_numpy(matrix(name))
    Y = torch.ones(len(A), 1, dtype=torch.float64) * min(scale, 1e100)
    expected = project(A, Y)
    s = oracles.mp_singular_values(A)
    assert expected.condition == pytest.approx(s[0] / s[expected.rank - 1], rel=1e-9)
    scaled = project(scale * A, Y)
    assert scaled.rank == expected.rank and scaled.condition == pytest.approx(expected.condition, rel=1e-9)
    ridge = project(scale * A, Y, 1e-3)
    least = scale * s[-1] if len(s) == A.shape[1] else 0.0
    told = math.hypot(scale * s[0], math.sqrt(1e-3)) / math.hypot(least, math.sqrt(1e-3))
    if expected.rank == min(A.shape) or scale <= 1.0:  # else the least is rounding, which lam may not hide
        assert ridge.condition == pytest.approx(told, rel=1e-6)
    assert 1.0 <= ridge.condition < math.inf


def test_no_features_at_all_have_no_condition():
    zero = torch.zeros(4, 2, dtype=torch.float64)
    assert project(zero, zero).condition == math.inf and project(zero, zero, 1e-300).condition == 1.0


@pytest.mark.parametrize("power", [-40, 40])
def test_column_scaling_keeps_minimum_norm_bounded_in_its_own_units(power):
    """A duplicated pair beside a feature of another unit: rank and fit are those of the unit one, C that of D C."""
    rng = np.random.default_rng(2)
    A, Y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    A[:, 1] = A[:, 0]
    D = np.array([1.0, 1.0, 2.0**power, 1.0])
    plain = project(torch.from_numpy(A), torch.from_numpy(Y), column_scaling=True)
    scaled = project(torch.from_numpy(A * D), torch.from_numpy(Y), column_scaling=True)
    assert plain.rank == scaled.rank == 3
    C, expected = D[:, None] * scaled.coefficients.numpy(), plain.coefficients.numpy()
    np.testing.assert_allclose(C, expected, atol=1e-13)
    np.testing.assert_allclose(expected[0], expected[1], rtol=1e-12)
    size = np.linalg.norm(A / np.exp2(np.round(np.log2(np.linalg.norm(A, axis=0)))), 2)
    assert norm(C) <= norm(Y) / (1e-10 * size)


# --- bounds on the coefficients ---------------------------------------------------------------------------------------

INF = math.inf
BOXES = {
    "last nonnegative": ([-INF, -INF, 0.0], [INF, INF, INF]),
    "first below": ([-INF, -INF, -INF], [0.3, INF, INF]),
    "nonnegative": ([0.0, 0.0, 0.0], [INF, INF, INF]),
    "wide box": ([-1e3] * 3, [1e3] * 3),
}
X = np.linspace(0.0, 1.0, 9)
TARGETS = np.cos(4 * X) - 1


def near_pair(eps):
    return np.stack([X, X + eps * np.sin(3 * X), np.ones(9)], axis=1)


def restricted(eps, lam, box, **options):
    A, Y = torch.from_numpy(near_pair(eps)), torch.from_numpy(TARGETS)[:, None]
    lower, upper = (torch.tensor(side, dtype=torch.float64)[:, None] for side in BOXES[box])
    return bounded_projection(project(A, Y, lam, **options), A, Y, lower, upper)


def bounded_law(eps, box, **options):
    """C within its bounds and no larger than the cut allows, and its value the one that is told."""
    solved, A = restricted(eps, 0.0, box, **options), near_pair(eps)
    C = solved.coefficients.numpy()
    assert norm(C) <= norm(TARGETS) / (1e-10 * np.linalg.norm(A, 2))
    assert 0.5 * norm(A @ C[:, 0] - TARGETS) ** 2 == pytest.approx(solved.value, rel=1e-7)
    lower, upper = (np.array(side) for side in BOXES[box])
    assert (lower <= C[:, 0]).all() and (upper >= C[:, 0]).all()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("eps", [0.0, 1e-16, 1e-13, 1e-12, 1e-11, 1e-6, 1e-2])
def test_free_columns_that_nearly_depend_are_cut_like_all_of_them(eps, box, scaled):
    bounded_law(eps, box, column_scaling=scaled)


def test_without_the_cut_coefficients_of_1e12_come_back(monkeypatch):
    right = bounded._restriction
    monkeypatch.setattr(bounded, "_restriction", lambda S, free, D, level: right(S, free, D, 0.0))
    with pytest.raises(AssertionError):
        bounded_law(1e-13, "last nonnegative")


@pytest.mark.parametrize("lam", [1e-14, 1e-8, 1e-2])
def test_bounded_coefficients_of_duplicates_with_a_tiny_ridge(lam):
    """Two equal free columns share one coefficient; what is left is a problem without duplicates and half the ridge."""
    solved = restricted(0.0, lam, "last nonnegative")
    A, ridge = near_pair(0.0)[:, :1], lam / 2
    c = float(np.linalg.solve(A.T @ A + ridge * np.eye(1), A.T @ TARGETS)[0])
    np.testing.assert_allclose(solved.coefficients[:, 0], [c / 2, c / 2, 0.0], rtol=1e-10)
    fit = 0.5 * norm(A[:, 0] * c - TARGETS) ** 2 + 0.5 * ridge * c**2
    assert solved.value == pytest.approx(fit, rel=1e-12)


def test_the_gradient_with_bounds_at_duplicates_and_lam_1e_14():
    """Against a closed form and its derivative: the last coefficient at its bound, theta the size of the twins."""
    lam = 1e-14
    features = from_function(lambda p, x: torch.stack([p[0] * x, p[0] * x, x * 0 + 1.0], dim=1), [1.0])
    box = ([[-INF], [-INF], [0.0]], None)
    reduced = ReducedProblem(SeparableProblem(features, X, TARGETS, regularization=lam, coefficient_bounds=box))

    def value(p):  # with 2 p^2 X.X = g: 1/2 (|y|^2 - 2 p^2 (X.y)^2 / (g + lam))
        return 0.5 * (TARGETS @ TARGETS - 2 * p**2 * (X @ TARGETS) ** 2 / (2 * p**2 * (X @ X) + lam))

    assert reduced.value([1.0]) == pytest.approx(value(1.0), rel=1e-13)
    slope = -2 * lam * (X @ TARGETS) ** 2 / (2 * (X @ X) + lam) ** 2
    assert float(reduced.gradient([1.0])[0]) == pytest.approx(slope, abs=1e-14 * (TARGETS @ TARGETS))
    C = reduced.linearize([1.0]).coefficients
    assert abs(float(C[0] - C[1])) <= 1e-10 * abs(float(C[0]))

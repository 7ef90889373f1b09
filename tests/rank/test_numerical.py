"""Numerical rank: planted ranks, the evidence that comes with the number, and what is refused."""

import math

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.rank import matrix_rank, numerical_rank
from grassvp.rank import numerical as module
from tests import oracles
from tests.rank.cases import ranked_spectrum, with_singular_values


def planted(seed, tolerance=None):
    """A matrix, its rank, and the level about which its singular values have a gap of 10 or more."""
    rng = np.random.default_rng(seed)
    m, n = (int(rng.integers(2, 60)) for _ in range(2))
    rank = int(rng.integers(1, min(m, n) + 1))
    level = 10.0 ** rng.uniform(-12, -4) if tolerance is None else tolerance
    s = ranked_spectrum(rng, min(m, n), rank, level, gap=10.0 * 10.0 ** rng.uniform(0.0, 2.0))
    return with_singular_values(rng, m, n, s) * 10.0 ** rng.uniform(-100, 100), rank, level


def misses(judge, count=1000, **options):
    """How many of the planted matrices get another rank, or are called uncertain."""
    wrong = 0
    for seed in range(count):
        A, rank, level = planted(seed, **options)
        found = judge(A, level)
        wrong += found.rank != rank or not found.certain
    return wrong


def test_no_miss_and_no_false_alarm_on_a_thousand_matrices():
    assert misses(lambda A, level: matrix_rank(A, level)) == 0
    assert misses(lambda A, level: numerical_rank(np.linalg.svd(A, compute_uv=False), level)) == 0


def test_none_without_tuning():
    assert misses(lambda A, level: matrix_rank(A), tolerance=1e-10) == 0


@pytest.mark.parametrize("factor", [0.5, 1.2, 3.0])
@pytest.mark.parametrize("noise", [True, False], ids=["noise about the level", "the smallest that count about it"])
def test_the_level_moves_into_a_gap_beside_it(factor, noise):
    """Singular values crowd about the usual level, 1e-10, on one side of a gap of 100: no level is given, none fits."""
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        crowd = factor * 1e-10 * 10.0 ** rng.uniform(-0.45, 0.45, 6)
        if noise:
            kept, lost = 10.0 ** np.append(0.0, rng.uniform(-3.0, 0.0, int(rng.integers(0, 8)))), crowd
            kept = np.append(kept, 100 * crowd.max())
        else:
            kept, lost = np.append(np.geomspace(1.0, crowd.max(), 20), crowd), 1e-13 * rng.random(3)
        s = np.sort(np.append(kept, lost))[::-1]
        found = matrix_rank(with_singular_values(rng, 30, len(s), s))
        wrong += found.rank != len(kept) or not found.certain
    assert wrong == 0


def test_columns_in_different_units():
    """Columns scaled by up to 1e12 either way hide the rank from singular values, and not from those after scaling."""
    raw = scaled = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        m, n = int(rng.integers(10, 50)), int(rng.integers(2, 10))
        rank = int(rng.integers(1, n + 1))
        s = np.append(10.0 ** rng.uniform(-4, 0, rank), 1e-15 * rng.random(n - rank))
        A = with_singular_values(rng, m, n, np.sort(s)[::-1]) * 10.0 ** rng.uniform(-12, 12, n)
        raw += matrix_rank(A).rank != rank
        found = matrix_rank(A, column_scaling=True)
        scaled += found.rank != rank or not found.certain
    assert scaled == 0 and raw > 100


def test_columns_of_zeros_stay_zero_under_scaling():
    A = np.eye(5)[:, :3] * [1.0, 0.0, 1e-300]
    assert matrix_rank(A).rank == 1 and matrix_rank(A, column_scaling=True).rank == 2
    assert matrix_rank(np.zeros((3, 2)), column_scaling=True).rank == 0


@pytest.mark.parametrize("seed", range(3))
def test_singular_values_against_mpmath(seed):
    rng = np.random.default_rng(seed)
    A = with_singular_values(rng, 7, 5, np.geomspace(1, 1e-8, 5))
    found, exact = matrix_rank(A, 1e-5), oracles.mp_singular_values(A)
    np.testing.assert_allclose(found.singular_values, exact, atol=1e-15)
    assert found.rank == int(np.sum(exact > 1e-5 * exact[0])) == np.linalg.matrix_rank(A, rtol=1e-5)
    assert found.gap == pytest.approx(exact[2] / exact[3], rel=1e-6)
    assert found.margin == pytest.approx(min(exact[2] / 1e-5, 1e-5 / exact[3]), rel=1e-6)
    assert found.level == pytest.approx(1e-5 * exact[0])


def test_evidence_by_hand():
    found = numerical_rank([1e-3, 8.0, 2.0], 1e-2)
    assert (found.rank, found.gap, found.certain, found.deficient) == (2, 2000.0, True, True)
    assert found.singular_values.tolist() == [8.0, 2.0, 1e-3] and found.level == 0.08 and found.margin == 25.0
    assert numerical_rank([1.0, 0.5], 0.1).gap == math.inf and numerical_rank([1.0, 0.0], 0.1).gap == math.inf
    unsure = numerical_rank([1.0, 2e-2, 1e-2 / 1.01], 1e-2)
    assert unsure.rank == 2 and not unsure.certain and unsure.margin == pytest.approx(1.01)
    assert numerical_rank([1.0, 0.1, 0.01], 0.1).rank == 1, "at the level counts as zero"
    nothing = numerical_rank([0.0, 0.0], 0.1)
    assert (nothing.rank, nothing.gap, nothing.certain, nothing.margin) == (0, math.inf, True, math.inf)
    assert repr(found) == "NumericalRank(2 of 3 at 1.0e-02, gap 2e+03, certain)"


def test_a_smooth_decay_is_called_uncertain():
    s = 3.0 ** -np.arange(40.0)
    found = numerical_rank(s)
    assert found.tolerance == 1e-10 and found.rank == int(np.sum(s > 1e-10)) and not found.certain


def test_kinds_of_input():
    A = with_singular_values(np.random.default_rng(0), 9, 4, np.array([1.0, 0.5, 1e-8, 1e-12]))
    assert matrix_rank(torch.from_numpy(A)).rank == matrix_rank(A).rank == 3
    assert matrix_rank(A.astype(np.float32)).rank == 2, "float32 knows singular values to 1e-6 only"
    assert matrix_rank(A.T).rank == 3 and matrix_rank([[1, 2], [2, 4]]).rank == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: numerical_rank([[1.0]]), ArgumentError, "singular_values must be a vector"),
        (lambda: numerical_rank([1.0, -1.0]), ArgumentError, "singular_values"),
        (lambda: numerical_rank([1.0, math.nan]), ArgumentError, "singular_values has 1 NaN"),
        (lambda: numerical_rank([]), ArgumentError, "singular_values is empty"),
        (lambda: numerical_rank([1.0], 1.0), ArgumentError, "tolerance must be < 1"),
        (lambda: numerical_rank([1.0], -1e-3), ArgumentError, "tolerance"),
        (lambda: numerical_rank([1.0], "small"), ArgumentTypeError, "tolerance"),
        (lambda: matrix_rank([1.0]), ArgumentError, r"matrix must have shape \(rows, columns\)"),
        (lambda: matrix_rank([[np.inf]]), ArgumentError, "matrix has"),
        (lambda: matrix_rank(np.eye(2), column_scaling=1), ArgumentTypeError, "column_scaling"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


MUTATIONS = {
    "the level is absolute": ("judge", lambda s, t: original(s, min(t / s[0], 0.9))),
    "one more counts": ("judge", lambda s, t: original(np.append(s[0], s[:-1]), t)),
    "the level is squared": ("judge", lambda s, t: original(s, t**2)),
    "the level is 30 times higher": ("judge", lambda s, t: original(s, 30 * t)),
}
original = module.judge


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_decision_is_noticed(name, monkeypatch):
    monkeypatch.setattr(module, *MUTATIONS[name])
    assert misses(lambda A, level: matrix_rank(A, level), 100) > 0


def test_a_level_that_never_moves_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "CROWDED", 1.0)
    with pytest.raises(AssertionError):
        test_the_level_moves_into_a_gap_beside_it(1.2, True)

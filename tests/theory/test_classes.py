"""Critical classes against brute force over eigenvectors and against differences of a dense value."""

import numpy as np
import pytest
import torch

from grassvp.theory.classes import TargetSpectrum, critical_classes
from tests.theory.oracles import brute_force_classes, complement, dense_value, grassmann_hessian, targets_with

SPECTRA = [
    ([3.0, 2.0, 1.0], 6, 2),
    ([3.0, 2.0, 2.0, 0.5], 7, 3),
    ([1.0, 1.0, 1.0], 6, 2),
    ([5.0], 5, 2),
    ([4.0, 1.0, 1.0], 3, 2),
    ([4.0, 3.0, 2.0, 1.0], 4, 2),
    ([2.0, 1e-3], 6, 4),
    ([3.0, 2.0, 1.0], 7, 1),
]


@pytest.mark.parametrize(("mu", "m", "n"), SPECTRA)
@pytest.mark.parametrize("seed", [0, 1])
def test_classes_are_those_of_brute_force(mu, m, n, seed):
    Y = targets_with(mu, m, seed, extra=seed)
    expected, classes = brute_force_classes(Y, n), critical_classes(Y, n)
    assert len(classes) == len(expected)
    left = dict(expected)
    for each in classes:
        inside = np.sort(np.repeat(each.eigenvalues, each.inside))
        key = (round(each.value, 8), each.index, each.nullity, *np.round(inside, 7))
        assert np.allclose(each.hessian_eigenvalues, left.pop(key), atol=1e-9)
    assert [c.value for c in classes] == sorted(c.value for c in classes)


@pytest.mark.parametrize(("mu", "m", "n"), SPECTRA)
def test_representatives_are_critical_with_the_predicted_hessian(mu, m, n):
    Y = targets_with(mu, m, 3)
    for each in critical_classes(Y, n):
        U = each.representative(0)
        assert np.linalg.norm(U.T @ U - np.eye(n)) < 1e-14 * n
        assert np.linalg.norm(complement(U).T @ Y @ (Y.T @ U)) < 1e-13 * mu[0]
        assert dense_value(Y, U) == pytest.approx(each.value, abs=1e-13 * mu[0] * m)
        assert each.contains(U)
        measured = np.linalg.eigvalsh(grassmann_hessian(Y, U))
        assert np.allclose(measured, each.hessian_eigenvalues, atol=1e-7 * mu[0])


def test_the_brute_force_comparison_notices_a_wrong_multiplicity():
    Y = targets_with([3.0, 2.0, 2.0, 0.5], 7, 0)
    split = critical_classes(targets_with([3.0, 2.0, 2.001, 0.5], 7, 0), 3)
    assert len(split) != len(brute_force_classes(Y, 3))
    assert len(critical_classes(targets_with([3.0, 2.0, 2.001, 0.5], 7, 0), 3, tolerance=1e-2)) == len(
        brute_force_classes(Y, 3)
    )


@pytest.mark.parametrize("seed", range(10))
def test_exactly_one_class_has_index_zero_and_it_is_the_lowest(seed):
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(2, 12)), int(rng.integers(1, 5))
    n = int(rng.integers(1, m + 1))
    Y = rng.standard_normal((m, k))
    classes = critical_classes(Y, n)
    assert [c.is_minimum for c in classes] == [True] + [False] * (len(classes) - 1)
    mu = np.sort(np.linalg.eigvalsh(Y @ Y.T))[::-1]
    assert classes[0].value == pytest.approx(0.5 * mu[n:].sum(), abs=1e-12 * mu[0])
    for each in classes:
        values = each.hessian_eigenvalues
        assert values.size == each.dimension == n * (m - n)
        assert np.all(np.diff(values) >= 0)
        assert int(np.sum(values < 0)) == each.index and int(np.sum(values == 0)) == each.nullity
        assert sum(each.inside) == n and sum(each.multiplicities) == m


def test_values_follow_the_units_of_the_targets():
    Y = targets_with([3.0, 2.0, 2.0], 6, 0)
    for factor in (1e-60, 1e60):
        for small, plain in zip(critical_classes(factor * Y, 2), critical_classes(Y, 2), strict=True):
            assert small.value == pytest.approx(factor**2 * plain.value, rel=1e-12, abs=1e-13 * factor**2)
            assert (small.index, small.nullity, small.inside) == (plain.index, plain.nullity, plain.inside)


def test_degenerate_cases():
    (zero,) = critical_classes(np.zeros((5, 2)), 2)
    assert (zero.value, zero.index, zero.nullity, zero.inside) == (0.0, 0, 6, (2,))
    assert np.array_equal(zero.hessian_eigenvalues, np.zeros(6))
    assert zero.representative(0).shape == (5, 2)
    (whole,) = critical_classes(np.eye(4)[:, :2], 4)
    assert (whole.value, whole.index, whole.nullity, whole.inside) == (0.0, 0, 0, (2, 2))
    assert whole.hessian_eigenvalues.shape == (0,)
    one = critical_classes(np.array([1, 2, 2]), 1)
    assert [(c.value, c.index, c.nullity) for c in one] == [(0.0, 0, 0), (4.5, 1, 1)]


def test_what_a_class_says_of_itself():
    classes = critical_classes(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 1)
    assert repr(classes[0]) == "CriticalClass(minimum, value 0.5, index 0, nullity 0: 1 of 1 at 4)"
    assert "saddle" in repr(classes[1]) and "maximum" in repr(classes[2])
    assert not classes[0].contains(classes[1].representative(0))


def test_representatives_follow_the_generator_and_cover_the_class():
    each = critical_classes(targets_with([2.0, 1.0], 8, 0), 3)[0]
    assert np.array_equal(each.representative(5), each.representative(np.random.default_rng(5)))
    P, Q = (U @ U.T for U in (each.representative(1), each.representative(2)))
    assert np.linalg.norm(P - Q) > 0.1
    share = TargetSpectrum.of(targets_with([2.0, 1.0], 8, 0)).occupation(each.representative(1))
    assert np.allclose(share, [1, 1, 1])


BAD = [
    (lambda: critical_classes(np.ones((3, 2)), 4), ValueError, "n must be at most .* 3 .* got 4"),
    (lambda: critical_classes(np.ones((3, 2)), 0), ValueError, "n must be"),
    (lambda: critical_classes(np.ones((3, 2)), 1.5), TypeError, "n must be an integer"),
    (lambda: critical_classes(np.full((3, 2), np.nan), 1), ValueError, "targets has 6 NaN"),
    (lambda: critical_classes(np.ones((3, 2, 2)), 1), ValueError, "targets must have shape"),
    (lambda: critical_classes(np.ones((3, 2)) * 1j, 1), TypeError, "targets must be real"),
    (lambda: critical_classes(np.empty((0, 2)), 1), ValueError, "targets is empty"),
    (lambda: critical_classes(1e200 * np.ones((3, 2)), 1), ValueError, "targets are too large"),
    (lambda: critical_classes(np.ones((3, 2)), 1, tolerance=-1), ValueError, "tolerance must be"),
    (lambda: critical_classes(np.ones((3, 2)), 1, tolerance=2), ValueError, "tolerance must be < 1"),
    (lambda: critical_classes(np.diag(np.arange(1.0, 31.0)), 15), ValueError, "155117520 classes"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(call, error, message):
    with np.errstate(over="ignore"), pytest.raises(error, match=message):
        call()

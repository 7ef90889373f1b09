"""K-fold cross-validation of all lam at once, against refits fold by fold in numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp.projection import folds
from tests.laws.reduced import norm
from tests.oracles import projector
from tests.projection.test_projection import RANKS
from tests.projection.test_spectrum import regime, spectrum_of, tensor

LAMS = (1e-9, 1e-3, 0.3, 50.0)
NAMES = [name for name in RANKS if name != "zero"]


def parts(m, count, seed=0):
    """The rows of each part."""
    order = np.random.default_rng(seed).permutation(m)
    return [order[j::count] for j in range(min(count, m))]


def ridge(A, Y, lam):
    """The coefficients of a ridge solve by least squares of the stacked matrix."""
    n = A.shape[1]
    stacked = np.vstack([A, math.sqrt(lam) * np.eye(n)])
    return np.linalg.lstsq(stacked, np.vstack([Y, np.zeros((n, Y.shape[1]))]), rcond=1e-14)[0]


def refits(A, Y, lam, held):
    """||A_j C_j - Y_j||^2 for each part, C_j fitted to the other rows."""
    errors = []
    for part in held:
        rest = np.setdiff1d(np.arange(len(A)), part)
        errors.append(norm(A[part] @ ridge(A[rest], Y[rest], lam) - Y[part]) ** 2)
    return np.array(errors)


def refit_law(name="full", count=5, k=2, seed=0):
    """Errors part by part, and their sum."""
    A, Y = regime(name, k, seed)
    spectrum, targets = spectrum_of(A, Y), torch.from_numpy(Y)
    errors = folds.fold_errors(spectrum, targets, tensor(*LAMS), count, seed)
    sums = folds.cross_validation(spectrum, targets, tensor(*LAMS), count, seed)
    assert errors.shape == (len(LAMS), min(count, len(A))) and sums.shape == (len(LAMS),)
    for lam, found, total in zip(LAMS, errors.numpy(), sums, strict=True):
        expected = refits(A, Y, lam, parts(len(A), count, seed))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * norm(Y) ** 2)
        assert math.isclose(float(total), expected.sum(), rel_tol=1e-6)


def one_out_law(name="full", k=3):
    """As many parts as rows: sum_i ||r_i||^2 / (1 - h_ii)^2, however the rows are divided."""
    A, Y = regime(name, k)
    for lam in LAMS[1:]:
        H = projector(A, lam)
        expected = (((Y - H @ Y) / (1 - np.diag(H))[:, None]) ** 2).sum()
        for count in (len(A), len(A) + 1, 10**6):
            found = folds.cross_validation(spectrum_of(A, Y), torch.from_numpy(Y), tensor(lam), count, seed=3)
            assert math.isclose(float(found[0]), expected, rel_tol=1e-9)


@pytest.mark.parametrize("count", [2, 3, 5, 12])
@pytest.mark.parametrize("name", NAMES)
def test_parts_are_those_of_refits(name, count):
    for seed, k in ((0, 1), (1, 3)):
        refit_law(name, count, k, seed)


@pytest.mark.parametrize("name", NAMES)
def test_rows_one_by_one_are_those_of_the_closed_form(name):
    one_out_law(name)


@pytest.mark.parametrize(("rows", "count"), [(3, 2), (7, 3), (31, 10), (30, 10), (101, 4)])
def test_every_row_is_held_back_once_in_parts_of_one_size_or_one_more(rows, count):
    """Features that are zero: each part is missed by its own targets, 4^i for row i."""
    Y = np.sqrt(4.0 ** (np.arange(rows) % 20))[:, None]
    spectrum = spectrum_of(np.eye(rows, 1) * 1e-30, Y)
    errors = folds.fold_errors(spectrum, torch.from_numpy(Y), tensor(1.0), count)[0].numpy()
    assert errors.sum() == pytest.approx((Y**2).sum(), rel=1e-12)
    ones = folds.fold_errors(spectrum_of(np.eye(rows, 1) * 1e-30, Y**0), torch.ones(rows, 1), tensor(1.0), count)
    sizes = ones[0].numpy().round(6)
    assert set(sizes) <= {rows // count, -(-rows // count)} and sizes.sum() == rows


def test_one_row_cannot_be_held_back():
    spectrum = spectrum_of(np.ones((1, 2)), np.ones((1, 1)))
    for count in (2, 10):
        errors = folds.fold_errors(spectrum, torch.ones(1, 1), tensor(*LAMS), count)
        assert errors.shape == (4, 1) and bool((errors == math.inf).all())
        assert folds.cross_validation(spectrum, torch.ones(1, 1), tensor(1.0), count).tolist() == [math.inf]


def seed_law():
    A, Y = regime("full")
    first, again, other = (
        folds.cross_validation(spectrum_of(A, Y), torch.from_numpy(Y), tensor(*LAMS), 3, seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other, rtol=1e-3)


def test_the_seed_divides_the_rows_and_nothing_else():
    before = np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    seed_law()
    assert np.random.get_state()[1].tolist() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


def grouped_law(monkeypatch):
    """Lam by lam or all at once."""
    A, Y = regime("full", 3)
    lams = torch.logspace(-12, 3, 50, dtype=torch.float64)
    whole = folds.fold_errors(spectrum_of(A, Y), torch.from_numpy(Y), lams, 4)
    monkeypatch.setattr(folds, "ENTRIES", 1)
    single = folds.fold_errors(spectrum_of(A, Y), torch.from_numpy(Y), lams, 4)
    np.testing.assert_allclose(single, whole, rtol=1e-12)


def test_how_many_lam_share_an_array_does_not_matter(monkeypatch):
    grouped_law(monkeypatch)


def invariance_law():
    """Rotations of the outputs, scales of the targets, and scales of the features with lam."""
    A, Y = regime("full", 3)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    plain = folds.fold_errors(spectrum_of(A, Y), torch.from_numpy(Y), tensor(*LAMS), 4)
    turned = folds.fold_errors(spectrum_of(A, Y @ Q), torch.from_numpy(Y @ Q), tensor(*LAMS), 4)
    np.testing.assert_allclose(turned, plain, rtol=1e-10)
    for power in (-30, 100):
        Z, lams = torch.from_numpy(2.0**power * Y), tensor(*LAMS) * 4.0**power
        np.testing.assert_allclose(
            4.0**-power * folds.fold_errors(spectrum_of(A, Z), Z, tensor(*LAMS), 4), plain, rtol=1e-12
        )
        np.testing.assert_allclose(
            folds.fold_errors(spectrum_of(2.0**power * A, Y), torch.from_numpy(Y), lams, 4), plain, rtol=1e-10
        )


def test_scales_and_rotations():
    invariance_law()


def test_targets_of_single_precision_are_judged_in_double_precision():
    A, Y = (part.astype(np.float32) for part in regime("full"))
    errors = folds.fold_errors(spectrum_of(A, Y), torch.from_numpy(Y), tensor(*LAMS), 5)
    assert errors.dtype == torch.float64
    expected = [refits(A.astype(float), Y.astype(float), lam, parts(12, 5)) for lam in LAMS]
    np.testing.assert_allclose(errors, expected, rtol=1e-3)


def test_rows_without_weight_have_no_error():
    A, Y = regime("full")
    A[:6] = Y[:6] = 0.0
    errors = folds.fold_errors(spectrum_of(A, Y), torch.from_numpy(Y), tensor(*LAMS), 12)
    assert int((errors < 1e-28).all(0).sum()) == 6 and bool(torch.isfinite(errors).all())


def forgetful(spectrum, targets, lams, count=10, seed=0):
    """Parts of the rows as they come."""
    return ORIGINAL(spectrum, targets, lams, count, 5)


def held(change):
    original = folds._held_back
    return folds, "_held_back", lambda *args: original(*change(*args))


def seen(A, Y, lams, spectrum):
    """No row is held back: the first part twice."""
    return torch.cat([A, A[:1]]), torch.cat([Y, Y[:1]]), lams, spectrum


ORIGINAL = folds.fold_errors
MUTATIONS = {
    "the seed is ignored": ((folds, "fold_errors", forgetful), seed_law),
    "lam is squared": (held(lambda A, Y, lams, spectrum: (A, Y, lams**2, spectrum)), refit_law),
    "lam is shared out among the parts": (
        held(lambda A, Y, lams, spectrum: (A, Y, lams * (1 - 1 / len(A)), spectrum)),
        refit_law,
    ),
    "a part is held back and kept": (held(seen), one_out_law),
    "what no coefficients reach is not missed": (
        held(lambda A, Y, lams, spectrum: (A, torch.linalg.qr(A)[0] @ torch.linalg.qr(A)[0].mT @ Y, lams, spectrum)),
        lambda: refit_law("one column", 3),
    ),
    "the last row is left out": (
        held(lambda A, Y, lams, spectrum: (A[:, :-1], Y[:, :-1], lams, spectrum)),
        refit_law,
    ),
    "small singular values are cut": (
        held(lambda A, Y, lams, spectrum: (A, Y, lams, replace(spectrum, floor=1e20 * spectrum.floor))),
        lambda: refit_law("graded"),
    ),
    "outputs are averaged": (
        held(lambda A, Y, lams, spectrum: (A, Y.mean(2, keepdim=True), lams, spectrum)),
        invariance_law,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()

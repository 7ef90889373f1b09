"""What a spectrum says of every lam, against hat matrices in numpy and mpmath, in every rank regime."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp import SeparableProblem
from grassvp.projection import Spectrum, project
from tests.laws.reduced import EPS, close, norm
from tests.oracles import projector
from tests.projection.test_projection import RANKS, matrix

LAMS = (1e-10, 1e-4, 0.3, 20.0)
REGIMES = {**RANKS, "near duplicates": 5}


def regime(name, k=2, seed=0):
    """A matrix of some rank regime and targets."""
    rng = np.random.default_rng(seed)
    A = matrix("full" if name == "near duplicates" else name, rng)
    if name == "near duplicates":
        A[:, 4] = A[:, 0] + 1e-7 * rng.standard_normal(12)
    return A, rng.standard_normal((len(A), k))


def spectrum_of(A, Y, lam=1.0, rows=None):
    A, Y = torch.as_tensor(A), torch.as_tensor(Y)
    return Spectrum.of(project(A, Y, lam), Y, rows)


def tensor(*lams):
    return torch.tensor(lams, dtype=torch.float64)


def sums_law(name, k=2, seed=0):
    """RSS and m - tr P_lam are those of dense matrices."""
    A, Y = regime(name, k, seed)
    found, s = spectrum_of(A, Y), np.linalg.svd(A, compute_uv=False)
    for lam in LAMS:
        H, at = projector(A, lam), tensor(lam)
        rounding = 100 * EPS * (1.0 + s[0] ** 2 / lam)
        close(found.misfit(at)[0], norm(Y - H @ Y) ** 2, min(rounding, 1e-10) * norm(Y) ** 2, "RSS")
        close(found.freedom(at)[0], len(A) - np.trace(H), min(rounding, 1e-10) * len(A), "freedom")


def parts_law(name, k=3, seed=1):
    """U and V are orthonormal, A = U diag(s) V^T but for rounding, and Y is U Z and what is outside."""
    A, Y = regime(name, k, seed)
    found = spectrum_of(A, Y)
    U, V, s, p = found.basis, found.right, found.singular_values, REGIMES[name]
    assert (U.shape, V.shape, s.shape, found.coordinates.shape) == ((len(A), p), (A.shape[1], p), (p,), (p, k))
    assert (found.rows, found.outputs) == (len(A), k)
    close(U.T @ U, np.eye(p), 100 * EPS, "U^T U")
    close(V.T @ V, np.eye(p), 100 * EPS, "V^T V")
    close((U * s) @ V.T, A, 100 * EPS * norm(A), "A")
    close(found.coordinates, U.T @ torch.as_tensor(Y), 100 * EPS * norm(Y), "Z")
    close(found.outside, norm(Y - (U @ found.coordinates).numpy()) ** 2, 100 * EPS * norm(Y) ** 2, "outside")
    close(found.squares, (found.coordinates**2).sum(1), 100 * EPS * norm(Y) ** 2, "squares")
    largest = np.linalg.norm(A, 2)
    close(found.largest, largest, 100 * EPS * largest, "largest")
    close(found.floor, (max(A.shape) * EPS * largest) ** 2, 1e-10 * found.floor, "floor")


def relative_law():
    """Where the fit is nearly perfect RSS and m - tr P_lam keep their relative accuracy, down to lam = 1e-24."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 9))
    Y = rng.standard_normal((6, 1))
    found = spectrum_of(A, Y)
    with mp.workdps(60):
        M, y = mp.matrix(A.tolist()), mp.matrix(Y.tolist())
        for lam in (1e-24, 1e-16, 1e-8, 1.0):
            K = M * M.T + mpf(lam) * mp.eye(6)
            R, inverse = mpf(lam) * mp.lu_solve(K, y), mp.inverse(K)
            rss, left = mp.fdot(R, R), mpf(lam) * sum(inverse[i, i] for i in range(6))
            assert math.isclose(float(found.misfit(tensor(lam))[0]), float(rss), rel_tol=1e-10)
            assert math.isclose(float(found.freedom(tensor(lam))[0]), float(left), rel_tol=1e-10)


def inside_law():
    """Targets in the span of tall features leave the rounding of the targets outside, in the span of wide ones less."""
    A, _ = regime("full", seed=4)
    Y = A @ np.ones((5, 1)) * 1e3
    assert spectrum_of(A, Y).outside <= (10 * EPS * norm(Y)) ** 2
    assert spectrum_of(A.T, Y[:5]).outside <= (10 * EPS**2 * norm(Y)) ** 2


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", REGIMES)
def test_sums_are_those_of_dense_matrices(name, k):
    for seed in range(3):
        if name != "zero":
            sums_law(name, k, seed)


@pytest.mark.parametrize("name", [name for name in REGIMES if name != "zero"])
def test_parts_put_together_are_the_matrix(name):
    parts_law(name)


def test_a_zero_matrix_has_no_spectrum():
    A, Y = regime("zero")
    found = spectrum_of(A, Y)
    assert found.largest == found.floor == 0.0 and found.singular_values.numel() == 0
    assert math.isclose(found.outside, norm(Y) ** 2, rel_tol=1e-14)
    assert found.misfit(tensor(1.0, 2.0)).tolist() == [found.outside] * 2
    assert found.freedom(tensor(1.0)).tolist() == [6.0]


def test_nearly_perfect_fits_keep_their_digits():
    relative_law()


def test_nothing_is_outside_of_a_span_that_holds_the_targets():
    inside_law()


def test_rounding_noise_counts_as_rank_deficiency_and_is_left_outside():
    A, Y = regime("duplicates")
    exact, noisy = spectrum_of(A, Y), spectrum_of(A * (1 + EPS * np.arange(12)[:, None] % 2), Y)
    assert exact.singular_values.numel() == noisy.singular_values.numel() == 3
    assert noisy.outside == pytest.approx(exact.outside, rel=1e-10)


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e6])
@pytest.mark.parametrize("options", [{}, {"column_scaling": True}, {"rank_tolerance": 0.1}], ids=str)
def test_it_does_not_matter_how_the_projection_was_solved(lam, options):
    A, Y = (torch.as_tensor(part) for part in regime("graded"))
    found, plain = Spectrum.of(project(A, Y, lam, **options), Y), Spectrum.of(project(A, Y, 1.0), Y)
    assert torch.equal(found.singular_values, plain.singular_values) and found.outside == plain.outside
    assert torch.equal(found.misfit(tensor(*LAMS)), plain.misfit(tensor(*LAMS)))


def test_the_targets_are_those_given_and_not_those_of_the_projection():
    A, Y = (torch.as_tensor(part) for part in regime("full"))
    shifted = Spectrum.of(project(A, Y, 1.0), Y + A[:, :1])
    close(shifted.misfit(tensor(0.3)), spectrum_of(A, Y + A[:, :1]).misfit(tensor(0.3)), 1e-12, "RSS")


def test_single_precision_is_summed_in_double_precision():
    A, Y = (part.astype(np.float32) for part in regime("full"))
    found, wide = spectrum_of(A, Y), spectrum_of(A.astype(float), Y.astype(float))
    assert found.coordinates.dtype == found.singular_values.dtype == torch.float64
    close(found.misfit(tensor(*LAMS)), wide.misfit(tensor(*LAMS)), 1e-5 * norm(Y) ** 2, "RSS")
    assert found.floor == pytest.approx((12 * np.finfo(np.float32).eps * found.largest) ** 2, rel=1e-10)


def candidates_law(found):
    """From the floor to 100 s_1^2, in steps of at most an eighth of a decade, none missing and none twice."""
    lams = found.lams().numpy()
    steps = np.diff(np.log10(lams))
    assert lams[0] == pytest.approx(found.floor, rel=1e-9) and lams[-1] == pytest.approx(
        100 * found.largest**2, rel=1e-9
    )
    assert (steps <= 0.125 + 1e-9).all() and (steps > 0.12).all() and np.ptp(steps) < 1e-9


def test_candidates_cover_all_that_makes_a_difference():
    for name in ("full", "wide", "graded", "one column"):
        found = spectrum_of(*regime(name))
        candidates_law(found)
        few, more = found.lams(2), found.lams(8, decades=3.0)
        assert 0.45 < float(torch.diff(torch.log10(few)).mean()) <= 0.5 + 1e-9
        assert float(more[0]) == pytest.approx(1e-3 * found.floor) and float(more[-1]) == pytest.approx(
            1e5 * found.largest**2
        )


def scaling_law(power):
    """Scaling A by 2^j and lam by 4^j changes nothing but ||C||."""
    A, Y = regime("full")
    plain, scaled = spectrum_of(A, Y), spectrum_of(A * 2.0**power, Y)
    lams = tensor(*LAMS)
    assert torch.equal(scaled.misfit(lams * 4.0**power), plain.misfit(lams))
    assert torch.equal(scaled.freedom(lams * 4.0**power), plain.freedom(lams))
    assert torch.equal(scaled.singular_values, 2.0**power * plain.singular_values)
    assert scaled.floor == 4.0**power * plain.floor


@pytest.mark.parametrize("power", [-200, -3, 60, 400])
def test_units_of_the_features_are_units_of_lam(power):
    scaling_law(power)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-152, 1e152, 1e200])
def test_sizes_whose_squares_float64_cannot_hold_give_finite_numbers(size):
    A, Y = regime("full")
    found = spectrum_of(A * size, Y)
    lams = found.lams()
    assert len(lams) >= 1 and bool(torch.isfinite(lams).all()) and bool((lams > 0).all())
    for values in (found.misfit(lams), found.freedom(lams), *found.filters(lams)):
        assert bool(torch.isfinite(values).all()) and bool((values >= 0).all())


@pytest.mark.parametrize("name", REGIMES)
def test_the_filters_of_a_spectrum_are_complements(name):
    found = spectrum_of(*regime(name))
    f, g = found.filters(tensor(1e-30, *LAMS, 1e30))
    s, lams = found.singular_values.numpy(), np.array([1e-30, *LAMS, 1e30])[:, None]
    np.testing.assert_allclose(f, s**2 / (s**2 + lams), rtol=1e-14)
    np.testing.assert_allclose(g, lams / (s**2 + lams), rtol=1e-14)


@pytest.mark.parametrize("lam", [0.0, *LAMS])
@pytest.mark.parametrize("name", [name for name in REGIMES if name != "zero"])
def test_freedom_and_gcv_of_a_projection_are_those_of_its_hat_matrix(name, lam):
    freedom_law(name, lam)


def freedom_law(name, lam):
    A, Y = regime(name)
    projection = project(torch.as_tensor(A), torch.as_tensor(Y), lam)
    H = projector(A, lam, cut=1e-10)
    close(projection.freedom, np.trace(H), 1e-9 * len(A), "freedom")
    left = len(A) - np.trace(H)
    if left > 1e-3:
        expected = len(A) * norm(Y - H @ Y) ** 2 / left**2
        close(cross_validated(projection, len(A)), expected, 1e-8 * expected, "gcv")
    elif lam == 0.0:
        assert cross_validated(projection, len(A)) == math.inf


def cross_validated(projection, rows):
    """As the problem that the projection belongs to has it, here without one."""
    return SeparableProblem.cross_validated(SimpleNamespace(counted_rows=rows), projection)


def counted_law():
    """Rows that do not count change the degrees of freedom that are left over and nothing else."""
    A, Y = regime("full")
    padded = spectrum_of(np.vstack([A, 0 * A]), np.vstack([Y, 0 * Y]), rows=12)
    plain = spectrum_of(A, Y)
    close(padded.freedom(tensor(*LAMS)), plain.freedom(tensor(*LAMS)), 1e-12, "freedom")
    close(padded.misfit(tensor(*LAMS)), plain.misfit(tensor(*LAMS)), 1e-12, "RSS")


def test_rows_that_do_not_count():
    counted_law()


def changed(name, change):
    original = getattr(Spectrum, name)
    return Spectrum, name, lambda self, *args: change(self, original(self, *args), *args)


def one_pass(projection, targets, rows=None):
    """What is outside after one projection alone."""
    rest = targets - projection.orthonormal @ (projection.orthonormal.T @ targets)
    return replace(ORIGINAL(projection, targets, rows), outside=float(torch.sum(rest**2)))


ORIGINAL = Spectrum.of
MUTATIONS = {
    "1 - f by a difference": (changed("filters", lambda self, fg, lams: (fg[0], 1.0 - fg[0])), relative_law),
    "filters of singular values": (
        changed("filters", lambda self, fg, lams: (torch.sqrt(fg[0]), 1 - torch.sqrt(fg[0]))),
        lambda: sums_law("full"),
    ),
    "misfit without what is outside": (
        changed("misfit", lambda self, value, lams: value - self.outside),
        lambda: sums_law("full"),
    ),
    "freedom of the rank": (
        changed("freedom", lambda self, value, lams: value - self.filters(lams)[1].sum(1)),
        lambda: sums_law("full"),
    ),
    "one projection of the targets": ((Spectrum, "of", staticmethod(one_pass)), inside_law),
    "rows are those of the matrix": (
        (Spectrum, "of", staticmethod(lambda projection, targets, rows=None: ORIGINAL(projection, targets))),
        counted_law,
    ),
    "candidates end at s_1^2": (
        changed("lams", lambda self, lams, *rest: lams[lams < self.largest**2]),
        lambda: candidates_law(spectrum_of(*regime("full"))),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    law()
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()

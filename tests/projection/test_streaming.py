"""Rows that come batch by batch against the whole matrix, explicit weights, and hat matrices in numpy."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.projection import StreamingProjection, project, streaming
from grassvp.projection.streaming import Rotation
from tests.laws.reduced import EPS, close, norm
from tests.projection.test_projection import RANKS, matrix

LAMS = (0.0, 1e-12, 1e-4, 1.0)


def data(name="full", k=2, seed=0, copies=1):
    """A matrix of some rank regime, whose rows come back a little louder `copies` times, and targets."""
    rng = np.random.default_rng(seed)
    A = np.concatenate([(1.0 + 0.1 * i) * matrix(name, rng) for i in range(copies)])
    return torch.from_numpy(A), torch.from_numpy(rng.standard_normal((len(A), k)))


def batches(A, Y, seed):
    """The rows in any order, in batches of any size."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(A))
    cuts = np.sort(rng.choice(np.arange(1, len(A)), size=rng.integers(0, len(A)), replace=False))
    return [(A[part], Y[part]) for part in np.split(order, cuts)]


def absorbed(parts, forgetting=1.0):
    sums = StreamingProjection.empty(parts[0][0].shape[1], parts[0][1].shape[1])
    for A, Y in parts:
        sums = sums.updated(A, Y, forgetting=forgetting)
    return sums


def whole_law(name, lam, seed):
    """Any split in any order: C, value, rank and singular values are those of `project` on the whole matrix."""
    A, Y = data(name, k=1 + seed % 3, seed=seed)
    sums, whole = absorbed(batches(A, Y, seed)), project(A, Y, lam)
    s = np.linalg.svd(A.numpy(), compute_uv=False)
    close(sums.singular_values[: len(s)], s, 100 * EPS * s[0], "singular values")
    close(sums.singular_values[len(s) :], 0.0 * sums.singular_values[len(s) :], 100 * EPS * s[0], "the others")
    assert sums.projection(lam).rank == whole.rank == RANKS[name] and sums.count == sums.rows == len(A)
    kappa = whole.condition if math.isfinite(whole.condition) else 1.0
    close(sums.value(lam), whole.value, 100 * EPS * kappa * norm(Y) ** 2, "value")
    spread = norm(whole.pseudo_factor) * norm(Y)  # ||A_lam^+|| ||Y|| bounds C and its sensitivity to the residual
    close(sums.coefficients(lam), whole.coefficients, 100 * EPS * kappa * (1.0 + spread), "C")


def forgetting_law(gamma, seed=0):
    """Forgetting is a weight gamma^(age / 2) on the rows."""
    A, Y = data("full", seed=seed, copies=3)
    parts = batches(A, Y, seed)
    sums = absorbed(parts, gamma)
    weights = [gamma ** ((len(parts) - 1 - i) / 2) for i in range(len(parts))]
    B, Z = (np.concatenate([w * part[i].numpy() for w, part in zip(weights, parts, strict=True)]) for i in (0, 1))
    for lam in (0.0, 0.1):
        whole = np.concatenate([B, math.sqrt(lam) * np.eye(5)])
        C = np.linalg.lstsq(whole, np.concatenate([Z, np.zeros((5, 2))]), rcond=1e-10)[0]
        value = 0.5 * norm(Z - B @ C) ** 2 + 0.5 * lam * norm(C) ** 2
        close(sums.coefficients(lam), C, 1e-12 * (1.0 + norm(C)), "C")
        close(sums.value(lam), value, 1e-13 * norm(Z) ** 2, "value")
    rows = sum(w**2 * len(part[0]) for w, part in zip(weights, parts, strict=True))
    assert math.isclose(sums.rows, rows, rel_tol=1e-14) and sums.count == len(A)
    return B, Z, sums


def hat(A, lam):
    """A (A^T A + lam I)^+ A^T, in numpy."""
    return A @ np.linalg.pinv(A.T @ A + lam * np.eye(A.shape[1]), rcond=1e-12) @ A.T


def gcv_law(gamma=0.9):
    """Gcv is m ||(I - H) Y||^2 / (m - tr H)^2, with the m that forgetting leaves."""
    B, Z, sums = forgetting_law(gamma)
    for lam in (0.0, 1e-3, 0.7, 30.0):
        H = hat(B, lam)
        expected = sums.rows * norm(Z - H @ Z) ** 2 / (sums.rows - np.trace(H)) ** 2
        close(sums.gcv(lam), expected, 1e-12 * expected, "gcv")


def sampled_gcv_law(name="full"):
    """Sampled gcv is the same on the last rows alone, with the C of all."""
    parts = [data(name, seed=seed) for seed in range(3)]
    sums = absorbed(parts)
    A, Y = (np.concatenate([part[i].numpy() for part in parts]) for i in (0, 1))
    for lam in (0.0, 1e-3, 0.7, 30.0):
        H = hat(A, lam)[24:]
        expected = 12 * norm(Y[24:] - H @ Y) ** 2 / (12 - np.trace(H[:, 24:])) ** 2
        close(sums.sampled_gcv(*parts[-1], lam), expected, 1e-11 * expected, "sampled gcv")


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", RANKS)
def test_any_split_in_any_order_is_the_whole_matrix(name, lam):
    for seed in range(5):
        whole_law(name, lam, seed)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.5, 0.01])
def test_forgetting_is_a_weight_on_the_rows(gamma):
    for seed in range(3):
        forgetting_law(gamma, seed)


def test_forgetting_everything_leaves_the_last_batch():
    A, Y = data(copies=2)
    last, both = absorbed([(A[8:], Y[8:])]), absorbed([(A[:8], Y[:8]), (A[8:], Y[8:])], 0.0)
    assert (both.rows, both.count) == (16.0, 24) and math.isclose(both.value(0.1), last.value(0.1), rel_tol=1e-13)
    close(both.coefficients(0.1), last.coefficients(0.1), 1e-13, "C")


@pytest.mark.parametrize("lam", LAMS)
def test_single_precision_features_are_summed_in_double_precision(lam):
    A, Y = (t.float() for t in data(copies=4))
    sums = absorbed(batches(A, Y, 1))
    whole = project(A.double(), Y.double(), lam)
    assert sums.coefficients(lam).dtype == torch.float64
    close(sums.coefficients(lam), whole.coefficients, 1e-13, "C")
    close(sums.value(lam), whole.value, 1e-13 * norm(Y) ** 2, "value")


def rounding_law():
    """The rank is that of rounding features, however many rows there are."""
    x = torch.linspace(-1.0, 1.0, 30_000)
    A = torch.stack([torch.ones_like(x), 1.0 + 1e-3 * x], dim=1)
    sums = absorbed([(part, part[:, 1:]) for part in A.split(1000)])
    assert sums.projection(0.0).rank == sums.projection(1e-9).rank == 2
    assert project(A, A[:, 1:], 1e-9).rank == 1, "the whole matrix is cut at m eps"
    twice = torch.cat([A, A[:, :1] - A[:, 1:]], dim=1)  # dependent up to the rounding of float32
    sums = absorbed([(part, part[:, :1]) for part in twice.split(1000)])
    assert sums.projection(0.0).rank == sums.projection(1e-9).rank == 2


def test_the_numerical_rank_does_not_fall_with_the_number_of_rows():
    rounding_law()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_generalised_cross_validation_is_that_of_the_hat_matrix(gamma):
    gcv_law(gamma)


@pytest.mark.parametrize("name", ["full", "duplicates", "zero columns"])
def test_sampled_cross_validation_is_that_of_explicit_matrices(name):
    sampled_gcv_law(name)


def test_cross_validation_is_infinite_where_no_row_is_left_over():
    A, Y = data("square")
    assert absorbed([(A, Y)]).gcv(0.0) == math.inf and absorbed([(A, Y)]).gcv(1.0) < math.inf


def test_tiny_singular_values_count_for_cross_validation_unless_lam_is_zero():
    sums = absorbed([(torch.eye(6, 2).double() * torch.tensor([1.0, 1e-12]), torch.ones(6, 1))])
    kept = 1.0 / 1.01
    assert math.isclose(sums.gcv(1e-26), 6 * (4 + (1 - kept) ** 2) / (5 - kept) ** 2, rel_tol=1e-6)
    assert math.isclose(sums.gcv(0.0), 6 * 5 / 5**2, rel_tol=1e-12)


def noisy_polynomial(noise, seed):
    x, rng = np.linspace(-1, 1, 60), np.random.default_rng(seed)
    y = np.sin(3 * x)[:, None] + noise * rng.standard_normal((60, 2))
    return torch.from_numpy(np.vander(x, 16)), torch.from_numpy(y)


@pytest.mark.parametrize("noise", [1e-3, 0.3])
def test_the_chosen_regularization_has_the_lowest_score_of_a_dense_grid(noise):
    for seed in range(3):
        A, Y = noisy_polynomial(noise, seed)
        order = np.random.default_rng(seed).permutation(60)
        sums = absorbed([(A[part], Y[part]) for part in np.split(order, 3)])
        last = A[order[40:]], Y[order[40:]]
        grid = float(sums.singular_values[0]) ** 2 * np.logspace(-20, 0, 401)
        chosen, sampled = sums.gcv_regularization(), sums.sampled_regularization(*last)
        assert sums.gcv(chosen) <= min(map(sums.gcv, grid)) * (1 + 1e-5)
        score = lambda lam, sums=sums, last=last: sums.sampled_gcv(*last, lam)  # noqa: E731
        assert score(sampled) <= min(map(score, grid)) * (1 + 1e-5)
        assert grid[0] <= chosen <= grid[-1] and grid[0] <= sampled <= grid[-1]


def test_without_features_any_regularization_will_do():
    sums = absorbed([(torch.zeros(4, 2), torch.ones(4, 1))])
    assert sums.gcv_regularization() == 1.0 and norm(sums.coefficients(1.0)) == 0.0 and sums.value(1.0) == 2.0


def test_units_of_the_data_scale_the_answers():
    A, Y = noisy_polynomial(0.1, 0)
    plain, scaled = absorbed([(A, Y)]), absorbed([(2.0**40 * A, 2.0**-30 * Y)])
    lam = plain.gcv_regularization()
    assert math.isclose(scaled.gcv_regularization(), 2.0**80 * lam, rel_tol=1e-9)
    assert math.isclose(scaled.value(2.0**80 * lam), 2.0**-60 * plain.value(lam), rel_tol=1e-10)
    close(
        2.0**70 * scaled.coefficients(2.0**80 * lam), plain.coefficients(lam), 1e-9 * norm(plain.coefficients(lam)), "C"
    )


def test_an_update_leaves_everything_as_it_was():
    A, Y = data()
    first = StreamingProjection.empty(5, 2).updated(A, Y)
    before = [t.clone() for t in (A, Y, first.triangle, first.projected)]
    second = first.updated(A, Y, forgetting=0.5)
    assert all(map(torch.equal, before, (A, Y, first.triangle, first.projected))) and first.count == 12
    assert (second.count, second.rows) == (24, 18.0)
    with pytest.raises(FrozenInstanceError):
        first.count = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert repr(second) == "StreamingProjection(24 rows seen, counting as 18, 5 features, 2 outputs)"


def test_no_rows_are_solved_by_zero():
    empty = StreamingProjection.empty(3, 2)
    assert norm(empty.coefficients(0.0)) == norm(empty.coefficients(1.0)) == empty.value(1.0) == 0.0


ONES = torch.ones(4, 3), torch.ones(4, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.updated(torch.ones(4, 2), ONES[1]), ArgumentError, r"values must have shape \(rows, 3\)"),
        (lambda s: s.updated(torch.ones(0, 3), torch.ones(0, 2)), ArgumentError, "at least one row"),
        (lambda s: s.updated(torch.ones(3), ONES[1]), ArgumentError, "values must"),
        (lambda s: s.updated(ONES[0], torch.ones(4)), ArgumentError, r"targets must have shape \(4, 2\)"),
        (lambda s: s.updated(ONES[0], torch.ones(3, 2)), ArgumentError, "targets must"),
        (lambda s: s.updated(ONES[0].int(), ONES[1]), ArgumentTypeError, "values must be floating-point"),
        (lambda s: s.updated(*ONES, forgetting=1.01), ArgumentError, "forgetting must be between 0 and 1, got 1.01"),
        (lambda s: s.updated(*ONES, forgetting=-0.1), ArgumentError, "forgetting"),
        (lambda s: s.updated(math.nan * ONES[0], ONES[1]), NonFiniteError, "4 x 3 feature rows"),
        (lambda s: s.updated(ONES[0] / 0, ONES[1]), NonFiniteError, "infinite"),
        (lambda s: s.updated(ONES[0], math.nan * ONES[1]), NonFiniteError, "NaN"),
        (lambda s: s.updated(0 * ONES[0], math.nan * ONES[1]), NonFiniteError, "NaN"),
        (lambda s: s.updated(ONES[0].double(), 1e200 * torch.eye(4, 2).double()), NonFiniteError, "overflow"),
        (lambda s: s.coefficients(-1.0), ArgumentError, "regularization"),
        (lambda s: s.gcv(-1.0), ArgumentError, "regularization"),
        (lambda s: s.sampled_gcv(*ONES, math.nan), ArgumentError, "regularization"),
        (lambda s: s.sampled_gcv(ONES[0][:, :2], ONES[1], 1.0), ArgumentError, "values must"),
        (lambda s: StreamingProjection.empty(0, 1), ArgumentError, "width"),
        (lambda s: StreamingProjection.empty(1, 1.5), ArgumentTypeError, "outputs"),
    ],
)
def test_what_cannot_be_used_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(absorbed([ONES]))


def backwards(self, upper, lower):
    turned = torch.ormqr(self.reflectors, self.scales, torch.cat([upper, lower]), transpose=False)
    return turned.split([len(upper), len(lower)])


def result(owner, name, change):
    original = getattr(owner, name)
    return owner, name, lambda *args, **kwargs: change(original(*args, **kwargs))


MUTATIONS = {
    "the remainder is dropped": (
        result(Rotation, "apply", lambda z: (z[0], 0 * z[1])),
        lambda: whole_law("full", 0, 0),
    ),
    "the targets are rotated backwards": ((Rotation, "apply", backwards), lambda: whole_law("full", 0.0, 0)),
    "gamma instead of its root": (result(streaming, "_check_forgetting", lambda g: g * g), lambda: forgetting_law(0.9)),
    "nothing is forgotten": (result(streaming, "_check_forgetting", lambda g: 1.0), lambda: forgetting_law(0.9)),
    "the trace is not squared": (
        (streaming, "generalized", lambda rows, misfit, left: misfit / left),
        gcv_law,
    ),
    "cross-validation on other rows": (
        result(StreamingProjection, "_check_rows", lambda rows: rows + 1),
        sampled_gcv_law,
    ),
    "the filter is a square root": (result(StreamingProjection, "_filters", torch.sqrt), gcv_law),
    "rounding is counted by rows": (
        (StreamingProjection, "_rank_tolerance", lambda self, lam: self.count * torch.finfo(self.dtype).eps),
        rounding_law,
    ),
    "rounding is not counted": ((StreamingProjection, "_rank_tolerance", lambda self, lam: 0.0), rounding_law),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()

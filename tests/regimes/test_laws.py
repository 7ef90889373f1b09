"""Where features lose rank: everything finite, and right against 90 digits, at lam = 0 along what keeps the rank."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp import ReducedProblem, SeparableProblem, jacobians
from grassvp.projection import projection
from tests import oracles
from tests.laws.reduced import norm
from tests.regimes.quantities import CASES, data, everything, mp_features, reduced_problem, scales, smallest_kept
from tests.regimes.regimes import RANKS, regime
from tests.regimes.truncated import mp_truncated

LAMS = (1e-14, 1e-8, 1e-2)
CUT = 1e-10
BAR = 1e-7  # relative, down to lam = 1e-14
ROUNDING = 1e-13  # of the natural size, for what is zero or cancels
SINGLE = 1e-5 / ROUNDING  # sizes that allow an error of 1e-5 in float32

kinds = pytest.mark.parametrize("kind", RANKS)
cases = pytest.mark.parametrize(("k", "weighted"), CASES)


@lru_cache
def ridge_reference(kind, k, weighted, lam):
    each = regime(kind)
    return oracles.mp_reference(mp_features(each), each.theta, *data(each, k, weighted), lam)


@lru_cache
def truncated_reference(kind, k, weighted):
    each = regime(kind)
    return mp_truncated(mp_features(each), each.theta, each.along, *data(each, k, weighted), CUT)


@lru_cache
def kaufman_reference(kind, k, weighted, lam):
    """-(I - P) (D A) C, P the projector on the augmented features: forming it from J_GP would cancel 1/sqrt(lam)."""
    each, reference = regime(kind), ridge_reference(kind, k, weighted, lam)
    w = data(each, k, weighted)[1]
    with mp.workdps(oracles.DIGITS):
        rows = mp_features(each)([mpf(float(t)) for t in each.theta])
        A = mp.matrix(oracles.mp_solve(rows, [[mpf(0)]] * len(rows), [mpf(float(v)) for v in w], mpf(lam))[0])
        outside = (mp.eye(A.rows) - A * mp.inverse(A.T * A) * A.T).tolist()
    G = np.einsum("inq,nk->ikq", reference.slopes, reference.coefficients)
    return -np.einsum("ij,jkq->ikq", oracles.to_array(outside).astype(float), G).reshape(-1, G.shape[2])


def close(actual, expected, scale, what, bar=BAR):
    """||actual - expected|| <= bar ||expected|| + ROUNDING scale."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    error, bound = norm(actual - expected), bar * norm(expected) + ROUNDING * scale
    assert error <= bound, f"{what}: error {error:.2e} > {bound:.2e}, size {norm(expected):.2e}"


def ridge_law(kind, k, weighted, lam):
    """Every quantity at lam > 0 in every direction, for the directions that split what is equal too."""
    each, reference = regime(kind), ridge_reference(kind, k, weighted, lam)
    reduced = reduced_problem(each, k, weighted, lam)
    point, v = reduced.linearize(each.theta), np.random.default_rng(1).standard_normal(len(each.theta))
    s = oracles.mp_singular_values(reference.features[: len(each.inputs)])
    size = scales(each, *data(each, k, weighted), reference.coefficients, smallest_kept(s, lam, 0.0))
    close(point.value, reference.value, size["value"], "value")
    close(point.residual, reference.residual, size["residual"], "residual")
    close(point.coefficients, reference.coefficients, size["coefficients"], "C")
    close(point.gradient, reference.gradient, size["gradient"], "gradient")
    J, H = reference.jacobian, reference.hessian
    close(point.jacobian(), J, size["jacobian"], "J_GP")
    close(point.jacobian("kaufman"), kaufman_reference(kind, k, weighted, lam), size["jacobian"], "J_K")
    close(point.jacobian_product(torch.from_numpy(v)).flatten(), J @ v, size["jacobian"] * norm(v), "J v")
    close(point.jacobian_adjoint_product(point.residual), reference.gradient, size["jacobian"], "J^T r")
    close(point.hessian(), H, size["hessian"], "Hessian")
    close(reduced.hessian_vector_product(each.theta, v), H @ v, size["hessian"] * norm(v), "H v")


@pytest.mark.parametrize(("lam", "k", "weighted"), [(LAMS[0], *CASES[0]), *((lam, *CASES[1]) for lam in LAMS)])
@kinds
def test_a_ridge_makes_every_regime_smooth(kind, lam, k, weighted):
    ridge_law(kind, k, weighted, lam)


def stratum_law(kind, k, weighted):
    """Every quantity at lam = 0: the truncated problem's, with derivatives along what keeps the rank."""
    each, reference = regime(kind), truncated_reference(kind, k, weighted)
    Y, w = data(each, k, weighted)
    point, A = reduced_problem(each, k, weighted, 0.0).linearize(each.theta), each.along
    size = scales(each, Y, w, reference.coefficients, smallest_kept(reference.singular_values, 0.0, CUT))
    assert point.rank == reference.rank == each.rank
    close(point.value, reference.value, size["value"], "value", bar=1e-12)
    close(point.residual, reference.residual, size["residual"], "residual", bar=1e-12)
    close(point.coefficients, reference.coefficients, size["coefficients"], "minimum-norm C", bar=1e-12)
    close(A.T @ point.gradient.numpy(), reference.gradient, size["gradient"], "gradient along the stratum")
    close(point.jacobian().numpy() @ A, reference.jacobian, size["jacobian"], "J_GP along the stratum")
    close(A.T @ point.hessian().numpy() @ A, reference.hessian, size["hessian"], "Hessian along the stratum")
    close(A.T @ point.metric().numpy() @ A, reference.metric, size["metric"], "metric along the stratum")
    t = np.random.default_rng(2).standard_normal(A.shape[1])
    v, sizes = torch.from_numpy(A @ t), {name: norm(A @ t) * value for name, value in size.items()}
    close(point.jacobian_product(v).flatten(), reference.jacobian @ t, sizes["jacobian"], "J v")
    close(A.T @ point.hessian_vector_product(v).numpy(), reference.hessian @ t, sizes["hessian"], "H v")
    close(A.T @ point.metric_product(v).numpy(), reference.metric @ t, sizes["metric"], "G v")


@cases
@kinds
def test_at_zero_regularization_the_truncated_problem_is_solved_and_differentiated(kind, k, weighted):
    stratum_law(kind, k, weighted)


@cases
@kinds
def test_at_zero_regularization_coefficients_are_of_minimum_norm_and_bounded(kind, k, weighted):
    each = regime(kind)
    Y, w = data(each, k, weighted)
    point = reduced_problem(each, k, weighted, 0.0).linearize(each.theta)
    A = w[:, None] * point.derivatives.values.numpy()
    expected = np.linalg.pinv(A, rcond=CUT) @ (w[:, None] * Y)
    close(point.coefficients, expected, norm(expected), "pinv", bar=1e-12)
    kept = np.linalg.svd(A, compute_uv=False)
    assert norm(point.coefficients) <= norm(w[:, None] * Y) / kept[kept > CUT * kept[0]][-1] * (1 + 1e-12)
    null = np.linalg.svd(A)[2][np.linalg.matrix_rank(A, tol=CUT * kept[0]) :]
    assert norm(null @ point.coefficients.numpy()) <= 1e-13 * norm(expected), "no part in the null space"


@pytest.mark.parametrize(("lam", "k", "weighted"), [(0.0, *CASES[0]), *((lam, *CASES[1]) for lam in (0.0, *LAMS))])
@kinds
def test_nothing_is_ever_nan_or_infinite(kind, lam, k, weighted):
    each = regime(kind)
    for scaling in (False, True):
        reduced = reduced_problem(each, k, weighted, lam, column_scaling=scaling)
        for name, found in everything(reduced, each.theta).items():
            assert np.isfinite(found).all(), name


@pytest.mark.parametrize("lam", [0.0, *LAMS])
@kinds
def test_rank_condition_and_differentiability_are_told(kind, lam):
    """The condition number is that of the augmented matrix, over what is kept; lam > 0 is differentiable."""
    each = regime(kind)
    point = reduced_problem(each, 3, True, lam).linearize(each.theta)
    A = data(each, 3, True)[1][:, None] * point.derivatives.values.numpy()
    s, n = oracles.mp_singular_values(A), A.shape[1]
    assert point.rank == each.rank
    if lam:
        least = s[-1] if len(s) == n else 0.0
        expected = np.hypot(s[0], np.sqrt(lam)) / np.hypot(least, np.sqrt(lam))
        assert point.differentiable
    else:
        expected = s[0] / s[each.rank - 1]
        assert point.differentiable == (each.rank == min(A.shape))
    assert point.condition == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("lam", [0.0, 1e-2])
@kinds
def test_single_precision_tells_the_same(kind, lam):
    """float32 features lose what lies at 1e-6 of them; rank, value, C and gradient are those of float64 to 1e-4."""
    each = regime(kind)
    Y, w = data(each, 3, True)
    single = (a.astype(np.float32) for a in (each.inputs, Y))
    reduced = ReducedProblem(SeparableProblem(each.module, *single, weights=w, regularization=lam))
    theta = each.theta.astype(np.float32)
    found = everything(reduced, theta)
    assert all(np.isfinite(value).all() for value in found.values())
    exact = reduced_problem(each, 3, True, lam).linearize(theta.astype(float))
    point = reduced.linearize(theta)
    assert point.rank == each.rank and point.gradient.dtype == torch.float32
    close(point.value, exact.value, SINGLE, "value", bar=1e-4)
    close(point.coefficients, exact.coefficients, SINGLE, "C", bar=1e-4)
    close(point.gradient, exact.gradient, SINGLE, "gradient", bar=1e-4)


# --- each law can fail ------------------------------------------------------------------------------------------------


def uncut(R, lam, tolerance, scale):
    return ORIGINAL(R, lam, 0.0, scale)


def with_null_part(R, lam, tolerance, scale):
    """C + a vector of the null space, as a solve by pivoting would give."""
    inner, tail, factor, rank = ORIGINAL(R, lam, tolerance, scale)
    null = torch.linalg.svd(R)[2][rank:].sum(0)
    return inner, tail, factor + 1e-3 * null, rank


def forgetting_the_cut(R, lam, tolerance, scale):
    """The ridge rows of the directions that were cut left out."""
    inner, tail, factor, rank = ORIGINAL(R, lam, tolerance, scale)
    return inner[:, :rank], tail[:, :rank], factor[:rank], rank


ORIGINAL = projection._small_factors
MUTATIONS = {
    "nothing is cut at lam > 0": ("_small_factors", uncut, lambda: ridge_law("sines", 3, True, 1e-14), "C"),
    "nothing is cut at lam = 0": ("_small_factors", uncut, lambda: stratum_law("sines", 3, True), "rank|assert"),
    "C is not of minimum norm": ("_small_factors", with_null_part, lambda: stratum_law("duplicates", 3, True), "C"),
    "the cut is forgotten": (
        "_small_factors",
        forgetting_the_cut,
        lambda: ridge_law("duplicates", 3, True, 1e-8),
        "J_GP",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    where, spoiled, law, words = MUTATIONS[name]
    monkeypatch.setattr(projection, where, spoiled)
    with pytest.raises(AssertionError, match=words):
        law()


@pytest.mark.parametrize(
    "law", [lambda: ridge_law("opposite", 3, True, 1e-14), lambda: stratum_law("opposite", 3, True)]
)
def test_a_gradient_wrong_by_a_millionth_is_noticed(law, monkeypatch):
    right = jacobians.envelope_gradient
    monkeypatch.setattr(jacobians, "envelope_gradient", lambda *args: right(*args) * (1 + 1e-6))
    with pytest.raises(AssertionError, match="gradient"):
        law()

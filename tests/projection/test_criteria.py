"""The criteria for lam against hat matrices, normal densities, simulated noise and differences of curves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal

from grassvp.projection import criteria
from grassvp.projection.criteria import discrepancy, evidence, gcv, l_curvature, predictive_risk
from tests.laws.reduced import norm
from tests.oracles import projector
from tests.projection.test_projection import RANKS
from tests.projection.test_spectrum import regime, spectrum_of, tensor

LAMS = (1e-8, 1e-3, 0.2, 7.0, 1e4)
NAMES = [name for name in RANKS if name != "zero"]


def agree(actual, expected, tolerance=1e-9, scale=0.0):
    assert math.isclose(float(actual), float(expected), rel_tol=tolerance, abs_tol=tolerance * scale), (
        actual,
        expected,
    )


def gcv_law(name="full", k=2, weight=1.0):
    """M ||(I - H) Y||^2 / (m - w tr H)^2, where that is more than nothing."""
    A, Y = regime(name, k)
    scores = criteria.gcv(spectrum_of(A, Y), tensor(*LAMS), weight)
    for lam, score in zip(LAMS, scores, strict=True):
        H = projector(A, lam)
        left = len(A) - weight * np.trace(H)
        if left > 1e-3:
            agree(score * left**2, len(A) * norm(Y - H @ Y) ** 2, scale=1e-3 * norm(Y) ** 2)
        else:
            assert score == math.inf or left > 1e-9 * len(A)


def log_density(A, Y, lam, variance):
    """Log density of independent columns of N(0, sigma^2 (I + A A^T / lam))."""
    covariance = variance * (np.eye(len(A)) + A @ A.T / lam)
    return sum(multivariate_normal.logpdf(column, cov=covariance) for column in Y.T)


def evidence_law(name="full", k=2):
    """-2 log density at its best variance, which scipy looks for, but for m k (1 + log 2 pi)."""
    A, Y = regime(name, k)
    found, entries = spectrum_of(A, Y), Y.size
    for lam in (1e-2, 0.2, 7.0):
        best = minimize_scalar(lambda x: -2 * log_density(A, Y, lam, math.exp(x)), bounds=(-8, 8), method="bounded")  # noqa: B023
        agree(criteria.evidence(found, tensor(lam))[0], best.fun - entries * (1 + math.log(2 * math.pi)), 1e-7, entries)


def risk_law(name="full", weighted=False, factor=1.0):
    """The mean over noise is the mean of ||A C - truth||^2 and what the noise adds to every lam, in closed form.

    For H = P_lam and noise of covariance S = sigma^2 diag(w^2) in each output,
    E RSS = ||(I - H) t||^2 + k tr (I - H) S (I - H) and E ||A C - t||^2 = ||(I - H) t||^2 + k tr H S H.
    """
    A, truth = regime(name, 3)
    m, sigma, k = len(A), 0.3, 3
    weights = np.random.default_rng(5).uniform(0.2, 3.0, m) if weighted else np.ones(m)
    S, identity = sigma**2 * np.diag(weights**2), np.eye(m)
    given = torch.from_numpy(weights) if weighted else None
    found = spectrum_of(A, truth)
    for lam in LAMS[1:]:
        H = projector(A, lam)
        bias = norm(truth - H @ truth) ** 2
        trace = k * np.trace((identity - H) @ S @ (identity - H))
        # the estimate of noisy targets is linear in RSS, whose mean is bias + trace; on the truth RSS is the bias
        mean = float(criteria.predictive_risk(found, tensor(lam), factor * sigma, given)[0]) + trace
        agree(mean, bias + k * np.trace(H @ S @ H) + k * np.trace(S))


def simulated_risk_law(weighted):
    """The same by drawing the noise: estimate and true risk differ by m k sigma^2 (or the weighted sum) on average."""
    A, truth = regime("full", 1)
    rng, sigma = np.random.default_rng(0), 0.4
    weights = rng.uniform(0.3, 2.0, 12) if weighted else np.ones(12)
    given = torch.from_numpy(weights) if weighted else None
    truth, draws = truth * weights[:, None], 4000
    noise = sigma * weights[:, None] * rng.standard_normal((12, draws))
    for lam in (0.05, 3.0):
        H = projector(A, lam)
        fits = H @ (truth + noise)
        estimates = [
            float(criteria.predictive_risk(spectrum_of(A, truth + noise[:, [i]]), tensor(lam), sigma, given)[0])
            for i in range(300)
        ]
        rss = ((truth + noise - fits) ** 2).sum(0)
        shift = estimates[0] - rss[0]
        np.testing.assert_allclose(np.array(estimates) - rss[:300], shift, atol=1e-12)
        gap = rss + shift - ((fits - truth) ** 2).sum(0) - sigma**2 * (weights**2).sum()
        assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(draws), "biased"


def discrepancy_law(name="full", weighted=False):
    A, Y = regime(name, 3)
    weights = torch.linspace(0.5, 2.0, len(A)) if weighted else None
    squares = len(A) if weights is None else float((weights.double() ** 2).sum())
    for lam, found in zip(LAMS, criteria.discrepancy(spectrum_of(A, Y), tensor(*LAMS), 0.3, weights), strict=True):
        agree(found, norm(Y - projector(A, lam) @ Y) ** 2 - 3 * 0.09 * squares, scale=norm(Y) ** 2)


def curvature_law(name="full", k=2):
    """(u' v'' - u'' v') / (u'^2 + v'^2)^1.5 for u = log ||R||, v = log ||C|| over log lam, by differences in mpmath."""
    A, Y = regime(name, k)
    with mp.workdps(60):
        M, T = mp.matrix(A.tolist()), mp.matrix(Y.tolist())

        def curve(x):
            G = M.T * M + mp.exp(x) * mp.eye(M.cols)
            size, rss = mpf(0), mpf(0)
            for j in range(k):
                c = mp.lu_solve(G, M.T * T[:, j])
                r = M * c - T[:, j]
                size, rss = size + mp.fdot(c, c), rss + mp.fdot(r, r)
            return mp.log(rss) / 2, mp.log(size) / 2

        for lam in (1e-3, 0.2, 7.0):
            x, h = mp.log(mpf(lam)), mpf(10) ** -15
            (u0, v0), (u1, v1), (u2, v2) = curve(x - h), curve(x), curve(x + h)
            du, dv, ddu, ddv = (
                (u2 - u0) / (2 * h),
                (v2 - v0) / (2 * h),
                (u2 - 2 * u1 + u0) / h**2,
                (v2 - 2 * v1 + v0) / h**2,
            )
            expected = (du * ddv - ddu * dv) / (du**2 + dv**2) ** mpf(1.5)
            agree(criteria.l_curvature(spectrum_of(A, Y), tensor(lam))[0], expected, 1e-8)


@pytest.mark.parametrize("weight", [1.0, 1.4, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_generalised_cross_validation_is_that_of_the_hat_matrix(name, weight):
    for k in (1, 3):
        gcv_law(name, k, weight)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_evidence_is_a_normal_density_at_its_best_variance(name, k):
    evidence_law(name, k)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_predictive_risk_is_unbiased(name, weighted):
    risk_law(name, weighted)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_predictive_risk_is_unbiased_for_noise_that_is_drawn(weighted):
    simulated_risk_law(weighted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_discrepancy_is_that_of_the_hat_matrix_and_grows(name, weighted):
    discrepancy_law(name, weighted)
    scores = criteria.discrepancy(spectrum_of(*regime(name)), torch.logspace(-10, 6, 100, dtype=torch.float64), 0.3)
    assert bool((torch.diff(scores) >= -1e-12).all())


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", ["full", "duplicates", "graded", "wide", "square", "one column"])
def test_the_curvature_of_the_l_curve_is_that_of_differences(name, k):
    curvature_law(name, k)


def test_where_next_to_nothing_is_left_over_gcv_is_infinite():
    A, Y = regime("square")
    found = spectrum_of(A, Y)
    smallest = float(found.singular_values[-1]) ** 2
    assert (
        criteria.gcv(found, tensor(1e-9 * smallest))[0] == math.inf
        and criteria.gcv(found, tensor(smallest))[0] < math.inf
    )
    tall = spectrum_of(*regime("full"))
    assert criteria.gcv(tall, tensor(1e-12), weight=12 / 5 + 1e-6)[0] == math.inf, "a weight that takes all freedom"
    assert criteria.gcv(tall, tensor(1e-12), weight=12 / 5 - 1e-3)[0] < math.inf


def bump_law():
    """Truth: of 400 noisy data sets the estimate of the risk picks lams whose error is near the best possible."""
    x = np.linspace(-1, 1, 40)
    A, truth, rng = np.vander(x, 15), np.sin(4 * x)[:, None], np.random.default_rng(1)
    lams = np.logspace(-12, 2, 57)
    hats = [projector(A, lam) for lam in lams]
    ratios = []
    for _ in range(40):
        Y = truth + 0.2 * rng.standard_normal((40, 1))
        errors = [norm(H @ Y - truth) for H in hats]
        chosen = int(criteria.predictive_risk(spectrum_of(A, Y), tensor(*lams), 0.2).argmin())
        ratios.append(errors[chosen] / min(errors))
    assert np.median(ratios) < 1.2


def test_the_predictive_risk_finds_nearly_the_best_lam():
    bump_law()


def joined_law():
    """K copies of one output choose like one, and outputs that are rotated like those that are not."""
    A, Y = regime("graded", 3)
    one, copies = spectrum_of(A, Y[:, :1]), spectrum_of(A, np.repeat(Y[:, :1], 4, axis=1))
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    plain, turned = spectrum_of(A, Y), spectrum_of(A, Y @ Q)
    for score in (
        criteria.gcv,
        criteria.evidence,
        criteria.l_curvature,
        lambda s, lams: criteria.predictive_risk(s, lams, 0.2),
    ):
        values, others = score(one, tensor(*LAMS)).numpy(), score(copies, tensor(*LAMS)).numpy()
        ratio = 1.0 if score is l_curvature else 4.0
        np.testing.assert_allclose(others - others[2], ratio * (values - values[2]), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(score(plain, tensor(*LAMS)), score(turned, tensor(*LAMS)), rtol=1e-9, atol=1e-9)


def test_copies_and_rotations_of_outputs():
    joined_law()


def result(name, change):
    original = getattr(criteria, name)
    return name, lambda *args: change(original(*args), *args)


def logs(value, spectrum, lams):
    """One log determinant less."""
    return value + torch.log(spectrum.filters(lams)[1]).sum(1)


def doubled(spectrum, lams):
    """As if more were outside of the span."""
    return l_curvature(replace(spectrum, outside=2.0 * spectrum.outside), lams)


def misfit_for_q(spectrum, lams):
    rss = spectrum.misfit(lams)
    size = (spectrum.filters(lams)[0] / spectrum.singular_values) ** 2 @ spectrum.squares
    return evidence(spectrum, lams) + spectrum.rows * spectrum.outputs * torch.log(rss / (rss + lams * size))


def turned(spectrum, lams):
    return evidence(spectrum, lams) + 2.0 * spectrum.outputs * logs(0.0, spectrum, lams)


def unweighted(spectrum, lams, sigma, weights=None):
    return predictive_risk(spectrum, lams, sigma)


MUTATIONS = {
    "the trace is not squared": (
        result("gcv", lambda v, s, lams, w=1.0: v * (s.rows - w * (s.rows - s.freedom(lams)))),
        gcv_law,
    ),
    "the weight of gcv is dropped": (("gcv", lambda s, lams, w=1.0: gcv(s, lams)), lambda: gcv_law(weight=1.4)),
    "the determinant counts once": (result("evidence", logs), lambda: evidence_law(k=3)),
    "the determinant has the wrong sign": (("evidence", turned), evidence_law),
    "q is the misfit": (
        ("evidence", misfit_for_q),
        evidence_law,
    ),
    "sigma^2 tr once": (result("predictive_risk", lambda v, s, x, *r: (v + s.misfit(x)) / 2), risk_law),
    "sigma for one output": (
        ("predictive_risk", lambda s, x, sigma, w=None: predictive_risk(s, x, sigma / math.sqrt(3), w)),
        risk_law,
    ),
    "the weights are dropped from the trace": (("predictive_risk", unweighted), lambda: risk_law(weighted=True)),
    "the weights are dropped from the drawn trace": (("predictive_risk", unweighted), lambda: simulated_risk_law(True)),
    "weights for their squares": (
        ("predictive_risk", lambda s, x, sigma, w: predictive_risk(s, x, sigma, torch.sqrt(w))),
        lambda: risk_law(weighted=True),
    ),
    "the discrepancy of one output": (
        ("discrepancy", lambda s, x, sigma, w=None: discrepancy(s, x, sigma / math.sqrt(3), w)),
        discrepancy_law,
    ),
    "the discrepancy forgets the weights": (
        ("discrepancy", lambda s, x, sigma, w=None: discrepancy(s, x, sigma)),
        lambda: discrepancy_law(weighted=True),
    ),
    "the curvature has the wrong sign": (result("l_curvature", lambda v, *_: -v), curvature_law),
    "the misfit is squared in the curve": (
        ("l_curvature", doubled),
        curvature_law,
    ),
    "the estimate is of the misfit": (("predictive_risk", lambda s, x, sigma, w=None: s.misfit(x)), bump_law),
    "outputs are counted once": (
        ("evidence", lambda s, x: evidence(s, x) / s.outputs),
        joined_law,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    (criterion, mutated), law = MUTATIONS[name]
    monkeypatch.setattr(criteria, criterion, mutated)
    with pytest.raises(AssertionError):
        law()

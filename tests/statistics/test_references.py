"""Against scipy, lmfit, mpmath, refits of changed data and repeated draws."""

import dataclasses

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.optimize import curve_fit
from scipy.stats import t

from grassvp import SeparableProblem, solve
from grassvp.features import from_function, mlp
from grassvp.statistics import fit_statistics
from tests import oracles
from tests.cases import data
from tests.solvers.problems import RATES, TIMES, decays, double_exponential
from tests.statistics.cases import START, WEIGHTS, at, close


def double_exponential_model(time, a, b, c, d):
    return c * np.exp(-a * time) + d * np.exp(-b * time)


def double_exponential_slopes(time, a, b, c, d):
    e, f = np.exp(-a * time), np.exp(-b * time)
    return np.stack([-c * time * e, -d * time * f, e, f], axis=1)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_double_exponential_against_scipy(weights):
    problem = double_exponential(0.05, start=START, weights=weights)
    stats, y = fit_statistics(problem, solve(problem)), problem.targets[:, 0].numpy()
    sigma = None if weights is None else 1 / weights
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "method": "lm"}
    found, covariance = curve_fit(
        double_exponential_model, TIMES, y, stats.estimates, sigma, jac=double_exponential_slopes, **tight
    )
    np.testing.assert_allclose(stats.estimates, found, rtol=1e-8)
    np.testing.assert_allclose(stats.covariance, covariance, rtol=1e-11)
    np.testing.assert_allclose(stats.standard_errors, np.sqrt(np.diag(covariance)), rtol=1e-11)
    new = np.linspace(0.0, 6.0, 25)
    rows = double_exponential_slopes(new, *found)
    half = t.ppf(0.94, 56) * np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
    np.testing.assert_allclose(stats.band(new, level=0.88), half, rtol=1e-11)
    assert stats.degrees_of_freedom == 56 and stats.rank == stats.free == 4


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_double_exponential_against_lmfit(weights):
    lmfit = pytest.importorskip("lmfit")
    problem = double_exponential(0.05, start=START, weights=weights)
    stats = fit_statistics(problem, solve(problem))
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "epsfcn": 1e-14}
    names = "abcd"
    fit = lmfit.Model(double_exponential_model, independent_vars=["time"]).fit(
        problem.targets[:, 0].numpy(),
        time=TIMES,
        weights=weights,
        fit_kws=tight,
        **dict(zip(names, stats.estimates, strict=True)),
    )
    errors = [fit.params[name].stderr for name in names]
    np.testing.assert_allclose(stats.standard_errors, errors, rtol=1e-6)
    correlation = [[fit.params[i].correl[j] if i != j else 1.0 for j in names] for i in names]
    np.testing.assert_allclose(stats.correlation, correlation, rtol=1e-6)
    assert stats.sigma**2 == pytest.approx(fit.redchi, rel=1e-9)
    new = np.linspace(0.0, 6.0, 25)
    band = fit.eval_uncertainty(time=new, sigma=0.88, dscale=1e-3)
    np.testing.assert_allclose(stats.band(new, level=0.88), band, rtol=1e-6)


def mp_statistics(model, theta, C, w, lam=0):
    """(covariance for unit noise, trace of the hat matrix) at 60 digits; model(theta, C) -> rows of mp numbers."""
    with mp.workdps(60):
        point = [mpf(float(v)) for v in (*theta, *np.ravel(C))]
        q, k, h = len(theta), np.shape(C)[1], mpf(10) ** -20

        def flat(at):
            rows = model(at[:q], [at[q + a * k : q + (a + 1) * k] for a in range(len(C))])
            return [mpf(float(weight)) * v for weight, row in zip(w, rows, strict=True) for v in row]

        J = mp.matrix(len(w) * k, len(point))
        for j in range(len(point)):
            ahead, behind = list(point), list(point)
            ahead[j], behind[j] = point[j] + h, point[j] - h
            for i, (up, down) in enumerate(zip(flat(ahead), flat(behind), strict=True)):
                J[i, j] = (up - down) / (2 * h)
        G = J.T * J
        H = G + mp.diag([mpf(lam) if j >= q else mpf(0) for j in range(len(point))])
        inverse = H**-1
        covariance = inverse * G * inverse
        hat = mpmath.fsum((inverse * G)[j, j] for j in range(len(point)))
        return np.array(covariance.tolist(), dtype=float).reshape(H.rows, -1), float(hat)


def test_the_example_of_o_leary_and_rust():
    """The problem of the paper (Comput. Optim. Appl. 54, 2013); their sigma is 2.75e-3."""
    times = [0, 0.1, 0.22, 0.31, 0.46, 0.5, 0.63, 0.78, 0.85, 0.97]
    y = [6.9842, 5.1851, 2.8907, 1.4199, -0.2473, -0.5243, -1.0156, -1.0260, -0.9165, -0.6805]
    w = [1, 1, 1, 0.5, 0.5, 1, 0.5, 1, 0.5, 0.5]

    def features(p, x):
        return torch.stack([torch.exp(-p[1] * x) * torch.cos(p[2] * x), torch.exp(-p[0] * x) * torch.cos(p[1] * x)], 1)

    def mp_model(p, C):
        e, cos = mpmath.exp, mpmath.cos
        return [
            [C[0][0] * e(-p[1] * x) * cos(p[2] * x) + C[1][0] * e(-p[0] * x) * cos(p[1] * x)]
            for x in map(mpf, map(float, times))
        ]

    problem = SeparableProblem(from_function(features, [0.5, 2.0, 3.0]), times, y, weights=w)
    stats = fit_statistics(problem, solve(problem))
    assert stats.sigma == pytest.approx(2.753935489e-3, rel=1e-9)
    assert stats.degrees_of_freedom == 5
    covariance, _ = mp_statistics(mp_model, stats.parameters, stats.coefficients, w)
    np.testing.assert_allclose(stats.covariance, stats.sigma**2 * covariance, rtol=1e-11)
    lower, upper = stats.interval()
    assert ((lower[:3] < [1.0132, 2.4968, 4.0625]) & (upper[:3] > [1.0133, 2.4969, 4.0626])).all()


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-8, 1e-3, 1e3])
@pytest.mark.parametrize("steepness", [1.5, 0.3], ids=["good", "ill"])
def test_a_small_network_against_mpmath(lam, steepness):
    """Well and ill-conditioned (kappa = 1e9): errors stay below eps kappa, which the normal equations would square."""
    x, y, w = data(10, 1, 2, 0)
    module = mlp(1, (3,), seed=1)
    theta = steepness * torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    problem = SeparableProblem(module, x, y, weights=w, regularization=lam)
    stats = at(problem, theta, noise=1.0)

    def model(p, C):
        rows = oracles.mp_features(p, x.tolist(), (3,))
        return [[mpmath.fdot(row, column) for column in zip(*C, strict=True)] for row in rows]

    covariance, effective = mp_statistics(model, theta, stats.coefficients, w, lam)
    size = np.sqrt(np.diag(covariance))
    tolerance = 1e-11 if steepness > 1 else 1e-7
    np.testing.assert_allclose(stats.standard_errors, size, rtol=tolerance)
    close(stats.covariance / np.outer(size, size), covariance / np.outer(size, size), tolerance, "covariance")
    assert 20 - stats.degrees_of_freedom == pytest.approx(effective, abs=tolerance)


def test_against_refits_of_changed_data():
    """At zero residual the first-order covariance is exact: sum over rows of the square of d(theta, C) / d y_i."""
    x, h = np.linspace(0.0, 4.0, 10), 1e-6
    y = np.exp(-x[:, None] * RATES) @ [2.0, 3.0]

    def fit(targets):
        problem = SeparableProblem(from_function(decays, RATES), x, targets)
        solution = solve(problem)
        return problem, solution, np.concatenate([solution.parameters, solution.coefficients[:, 0]])

    moves = [(fit(y + h * e)[2] - fit(y - h * e)[2]) / (2 * h) for e in np.eye(10)]
    problem, solution, _ = fit(y)
    stats = fit_statistics(problem, solution, noise=1.0)
    np.testing.assert_allclose(stats.covariance, np.transpose(moves) @ moves, rtol=1e-6)


def test_intervals_cover():
    """Of 200 draws of the data, about 190 intervals hold the truth, for each parameter and for the model at a point."""
    x, rng, truth, noise = np.linspace(0.0, 3.0, 12), np.random.default_rng(1), np.array([1.0, 2.0, -0.5]), 0.1

    def features(p, x):
        return torch.stack([torch.exp(-p[0] * x), torch.ones_like(x)], dim=1)

    mean, hits, inside, known = truth[1] * np.exp(-truth[0] * x) + truth[2], np.zeros(3), 0, np.zeros(3)
    for _ in range(200):
        problem = SeparableProblem(from_function(features, [1.0]), x, mean + noise * rng.standard_normal(12))
        solution = solve(problem, tolerance=1e-9)
        stats = fit_statistics(problem, solution)
        lower, upper = stats.interval()
        hits += (lower <= truth) & (truth <= upper)
        inside += np.abs(solution.predict(x[3:4]) - mean[3])[0] <= stats.band(x[3:4])[0]
        lower, upper = dataclasses.replace(stats, sigma=noise, noise_known=True).interval()
        known += (lower <= truth) & (truth <= upper)
    for count in (*hits, inside, *known):
        assert 181 <= count <= 198, (hits, inside, known)  # 190 -/+ 3 standard deviations of a binomial count

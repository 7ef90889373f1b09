"""The statistics of a fit against dense formulas, mpmath, scipy, lmfit and repeated draws; and each check can fail."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.optimize import curve_fit
from scipy.stats import norm, t

from grassvp import FirstOrder, ReducedProblem, SeparableProblem, Status, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import differential_operator, from_function, mlp, under_operator
from grassvp.statistics import factors, fit_statistics, fitting, report
from tests import oracles
from tests.cases import data, gated_features, module_under_test
from tests.solvers.problems import RATES, TIMES, decays, double_exponential

WEIGHTS = np.linspace(0.5, 2.0, 60)
SOME_ZERO = np.where(np.arange(60) % 7 == 0, 0.0, WEIGHTS)
HEAT = {(0,): 1.0, (1, 1): -0.25, (): 0.5}
START = (0.4, 2.5)


# --- the oracle: dense formulas with automatic differentiation of the model written out ------------------------------


@dataclass(frozen=True)
class Case:
    """A problem, a point, and its model (theta, C, inputs) -> (rows, k) in plain torch operations."""

    problem: SeparableProblem
    theta: np.ndarray
    x: np.ndarray
    model: Callable
    predicted: Callable  # what predict evaluates: the model, or what the operator was applied to
    fixed: tuple = ()  # positions in (theta, C) that are held at a bound


def linear_in(features, offset=None):
    def model(theta, C, x):
        fixed = 0.0 if offset is None else offset(theta, x)
        return features(theta, x) @ C + fixed

    return model


def network(widths, activation="tanh"):
    return linear_in(lambda theta, x: oracles.torch_features(theta, x, widths, activation))


def drift(theta, x):
    """An offset for three outputs."""
    return torch.stack([torch.sin(theta[0] * x), x**2 + 0 * theta[0], theta[1] * x], dim=1)


def exponentials(**options):
    problem = double_exponential(0.05, start=START, **options)
    model = linear_in(decays)
    return Case(problem, np.array(START), TIMES, model, model)


def many_outputs(lam=0.0):
    """More outputs than features: Kaufman's system is compressed."""
    rng = np.random.default_rng(0)
    y = np.exp(-TIMES[:, None] * RATES) @ rng.standard_normal((2, 12)) + 0.1 * rng.standard_normal((60, 12))
    problem = SeparableProblem(from_function(decays, START), TIMES, y, weights=WEIGHTS, regularization=lam)
    model = linear_in(decays)
    return Case(problem, np.array(START), TIMES, model, model)


def with_offset(lam=0.0):
    base = double_exponential(0.05, outputs=3)
    problem = SeparableProblem(
        from_function(decays, START, offset=drift), TIMES, base.targets, weights=WEIGHTS, regularization=lam
    )
    model = linear_in(decays, drift)
    return Case(problem, np.array(START), TIMES, model, model)


def perceptron(widths, k, lam, *, rows=40, d=2, squeeze=False, **options):
    x, y, w = data(rows, d, k, 0)
    module = mlp(d, widths, seed=1)
    theta = 1.5 * torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    targets = y[:, 0] if squeeze else y
    problem = SeparableProblem(module, x, targets, weights=w, regularization=lam, **options)
    return Case(problem, theta, x, network(widths), network(widths))


def gated():
    """With a layer normalisation, whose 3 invariances leave the 15 entries of the layer before it undetermined."""
    x, y, w = data(300, 2, 2, 0)
    problem = SeparableProblem(module_under_test(), x, y, weights=w, regularization=1e-3)
    model = linear_in(gated_features)
    return Case(problem, problem.initial_parameters.numpy(), x, model, model)


def heat_rows(widths):
    """Rows are an operator applied to a network; `predict` evaluates the network."""
    x, y, _ = data(60, 2, 1, 0)
    module = mlp(2, widths, seed=1)
    problem = SeparableProblem(
        under_operator(module, differential_operator(60, 2, HEAT)), x, y[:, 0], regularization=1e-3
    )

    def model(theta, C, rows):
        return oracles.torch_operator(lambda point: oracles.torch_features(theta, point, widths), rows, HEAT) @ C

    return Case(problem, problem.initial_parameters.numpy(), x, model, network(widths))


def bounded_parameters(lam):
    case = exponentials(outputs=3, weights=WEIGHTS, regularization=lam, bounds=((0.4, 0.0), (5.0, 5.0)))
    return dataclasses.replace(case, fixed=(0,))


def bounded_coefficients(lam):
    """Of the four bounds at zero, three hold: one output keeps both coefficients, one keeps one and one keeps none."""
    lower, upper = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -np.inf]]), np.full((2, 3), np.inf)
    upper[1, 2] = 0.0
    problem = double_exponential(
        0.05, outputs=3, start=(0.5, 2.1), weights=WEIGHTS, regularization=lam, coefficient_bounds=(lower, upper)
    )
    return Case(problem, np.array([0.5, 2.1]), TIMES, linear_in(decays), linear_in(decays), (3, 6, 7))


CASES = {
    "two exponentials": exponentials,
    "weights, some zero": lambda: exponentials(weights=SOME_ZERO),
    "3 outputs, weights": lambda: exponentials(outputs=3, weights=WEIGHTS),
    "3 outputs, weights, ridge": lambda: exponentials(outputs=3, weights=WEIGHTS, regularization=0.05),
    "heavy ridge": lambda: exponentials(outputs=3, regularization=1e3),
    "scaled columns": lambda: exponentials(outputs=3, regularization=0.05, column_scaling=True),
    "12 outputs of 2 features": many_outputs,
    "12 outputs of 2 features, ridge": lambda: many_outputs(0.05),
    "offset": with_offset,
    "offset, ridge": lambda: with_offset(0.05),
    "a parameter at its bound": lambda: bounded_parameters(0.0),
    "a parameter at its bound, ridge": lambda: bounded_parameters(0.05),
    "coefficients at their bounds": lambda: bounded_coefficients(0.0),
    "coefficients at their bounds, ridge": lambda: bounded_coefficients(0.05),
    "one hidden layer": lambda: perceptron((4,), 1, 0.0, squeeze=True),
    "one hidden layer, ridge": lambda: perceptron((4,), 3, 1e-3),
    "two hidden layers": lambda: perceptron((3, 4), 3, 0.0),
    "two hidden layers, ridge, row blocks": lambda: perceptron((6, 5), 3, 1e-3, rows=300, memory_limit=2**20),
    "a module": gated,
    "under an operator": lambda: heat_rows((4,)),
    "under an operator, two hidden layers": lambda: heat_rows((3, 3)),
}


def at(problem, theta=None, **options):
    """Statistics of the linear part alone at theta: the algebra needs no minimum, and is richer away from it."""
    return fit_statistics(problem, solve(problem, initial_parameters=theta, max_iterations=0, seed=0), **options)


def jacobian_of(model, theta, C, x):
    """Derivative of model(theta, C, x).flatten() by (theta, C), and the value."""
    theta, C = torch.as_tensor(theta), torch.as_tensor(C)

    def flat(vector):
        return model(vector[: len(theta)], vector[len(theta) :].view(C.shape), x).flatten()

    return torch.func.jacfwd(flat)(torch.cat([theta, C.flatten()])).numpy()


def dense_covariance(J, q, lam, fixed=()):
    """(covariance for unit noise, trace of the hat matrix) of the joint linearised ridge estimator, by one dense SVD.

    Variances of what changes along a null direction of [J; ridge] are infinite.
    """
    free = np.setdiff1d(np.arange(J.shape[1]), fixed)
    A = np.vstack([J, np.sqrt(lam) * np.eye(J.shape[1])[q:]])[:, free]
    scale = np.linalg.norm(A, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    U, s, Vh = np.linalg.svd(A / scale, full_matrices=len(A) < len(free))
    r = int(np.sum(s > 1e-11))
    upper = U[: len(J), :r]
    B = (Vh[:r].T / s[:r] / scale[:, None]) @ upper.T
    covariance = np.zeros((J.shape[1],) * 2)
    covariance[np.ix_(free, free)] = B @ B.T
    lost = free[np.linalg.norm(Vh[r:], axis=0) > 1e-6]
    covariance[lost], covariance[:, lost] = np.nan, np.nan
    covariance[:, list(fixed)], covariance[list(fixed)] = 0.0, 0.0
    covariance[lost, lost] = np.inf
    return covariance, float(np.sum(upper**2))


def close(found, expected, tolerance, name):
    """Largest error of entries of size one, NaN and inf where they are expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{name}: shape {found.shape} instead of {expected.shape}"
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected), err_msg=name)
    np.testing.assert_array_equal(found[np.isinf(expected)], expected[np.isinf(expected)], err_msg=name)
    finite = np.isfinite(expected)
    error = np.max(np.abs(found[finite] - expected[finite]), initial=0.0)
    assert error <= tolerance, f"{name}: error {error:.2e} > {tolerance:.1e}"


def algebra_law(case, tolerance=1e-10):
    """Everything in FitStatistics against dense formulas; entries are compared in units of their standard errors."""
    problem, stats = case.problem, at(case.problem, case.theta)
    x, C, q, k = torch.from_numpy(case.x), stats.coefficients, len(case.theta), problem.outputs
    w = np.ones(problem.rows) if problem.weights is None else problem.weights.numpy()
    J = np.repeat(w, k)[:, None] * jacobian_of(case.model, case.theta, C, x)
    unit, effective = dense_covariance(J, q, problem.regularization, case.fixed)
    residual = w[:, None] * (problem.targets - case.model(torch.from_numpy(case.theta), torch.from_numpy(C), x)).numpy()
    freedom = np.count_nonzero(w) * k - effective
    assert abs(stats.degrees_of_freedom - freedom) < 1e-8, f"degrees of freedom {stats.degrees_of_freedom}"
    assert stats.sigma == pytest.approx(np.linalg.norm(residual) / np.sqrt(freedom), rel=1e-9)
    expected = stats.sigma**2 * unit
    errors = np.sqrt(np.diag(expected))
    size = np.where((errors > 0) & np.isfinite(errors), errors, 1.0)
    close(stats.standard_errors / size, errors / size, tolerance, "standard errors")
    close(stats.covariance / np.outer(size, size), expected / np.outer(size, size), tolerance, "covariance")
    correlation = np.where(np.outer(errors, errors) > 0, expected / np.outer(size, size), np.nan)
    np.fill_diagonal(correlation, 1.0)
    close(stats.correlation, correlation, tolerance, "correlation")
    if np.isfinite(expected).all():
        band_law(case, stats, expected, freedom, 10 * tolerance)
        derived_law(stats, expected, 10 * tolerance)


def band_law(case, stats, expected, freedom, tolerance):
    new = np.linspace(-1.0, 1.5, 14).reshape(7, 2) if case.x.ndim == 2 else np.linspace(0.1, 5.0, 7)
    rows = jacobian_of(case.predicted, case.theta, stats.coefficients, torch.from_numpy(new))
    half = t.ppf(0.95, freedom) * np.sqrt(np.einsum("ij,jk,ik->i", rows, expected, rows))
    band = stats.band(new, level=0.9)
    assert band.shape == case.problem.predict(*map(torch.from_numpy, (case.theta, stats.coefficients)), new).shape
    close(band.ravel() / np.where(half > 0, half, 1.0), (half > 0).astype(float), tolerance, "band")


def derived_law(stats, expected, tolerance):
    """A nonlinear function of everything, with few and with many values."""
    rng = np.random.default_rng(0)
    for count in (3, 200):
        shapes = (count, stats.parameters.size), (count, stats.coefficients.size)
        a, b = (torch.from_numpy(rng.standard_normal(shape)) for shape in shapes)

        def function(theta, C, a=a, b=b):
            return torch.sin(a @ theta) + (b @ C.flatten()) ** 2

        theta, C = torch.from_numpy(stats.parameters), torch.from_numpy(stats.coefficients)
        rows = jacobian_of(lambda theta, C, _: function(theta, C), theta, C, None)
        value, errors = stats.derived(function)
        np.testing.assert_array_equal(value, function(theta, C))
        close(errors / np.sqrt(np.einsum("ij,jk,ik->i", rows, expected, rows)), np.ones(count), tolerance, "derived")


@pytest.mark.parametrize("name", CASES)
def test_everything_against_dense_formulas(name):
    algebra_law(CASES[name](), 1e-7 if name == "a module" else 1e-10)


# --- other oracles ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["3 outputs, weights", "12 outputs of 2 features", "offset", "two hidden layers"])
def test_the_covariance_of_theta_is_that_of_kaufmans_jacobian(name):
    case = CASES[name]()
    stats, q = at(case.problem, case.theta), len(case.theta)
    J = ReducedProblem(case.problem).jacobian(case.theta, "kaufman")
    R = np.linalg.inv(np.linalg.qr(J)[1])
    np.testing.assert_allclose(stats.covariance[:q, :q], stats.sigma**2 * R @ R.T, rtol=1e-9)


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


# --- what is not determined ------------------------------------------------------------------------------------------


def neurons(weights, biases, lam=0.0, activation="tanh", **options):
    x = np.linspace(-1.0, 1.0, 40)
    y = np.tanh(2 * x + 0.5) + 0.1 * np.random.default_rng(0).standard_normal(40)
    module = mlp(1, (len(weights),), activation=activation)
    problem = SeparableProblem(module, x[:, None], y, regularization=lam, **options)
    return problem, np.array([*weights, *biases])


def test_a_duplicated_neuron_leaves_the_rest_as_it_is_without_the_copy():
    single, double = neurons([1.0, 3.0], [0.5, -1.0]), neurons([1.0, 3.0, 3.0], [0.5, -1.0, -1.0])
    once, twice = at(*single), at(*double)
    assert (once.rank, once.free, twice.rank, twice.free) == (7, 7, 7, 10)
    assert twice.degrees_of_freedom == once.degrees_of_freedom == 33
    assert twice.sigma == pytest.approx(once.sigma, rel=1e-10)
    lost = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1, 0], dtype=bool)
    assert np.isinf(twice.standard_errors[lost]).all()
    kept = [0, 2, 4, 6]
    np.testing.assert_allclose(twice.standard_errors[~lost], once.standard_errors[kept], rtol=1e-8)
    np.testing.assert_allclose(twice.covariance[np.ix_(~lost, ~lost)], once.covariance[np.ix_(kept, kept)], rtol=1e-8)
    assert np.isinf(twice.covariance[lost, lost]).all() and np.isnan(twice.covariance[1, 0])
    assert np.isnan(twice.correlation[1, 0]) and (np.diag(twice.correlation) == 1).all()
    lower, upper = twice.interval()
    assert (lower[lost] == -np.inf).all() and (upper[lost] == np.inf).all()
    new = np.linspace(-2.0, 2.0, 9)[:, None]
    np.testing.assert_allclose(twice.band(new), once.band(new), rtol=1e-7)
    value, error = twice.derived(lambda theta, C: C[1, 0] + C[2, 0])  # the sum is determined, its parts are not
    assert value == pytest.approx(once.coefficients[1, 0], rel=1e-8)
    assert error == pytest.approx(once.coefficient_errors[1, 0], rel=1e-7)
    assert twice.derived(lambda theta, C: C[1, 0])[1] == np.inf
    assert "6 entries are not determined" in repr(twice)


def test_a_ridge_determines_the_coefficients_of_duplicated_neurons_and_not_their_slopes():
    stats = at(*neurons([1.0, 3.0, 3.0], [0.5, -1.0, -1.0], 1e-3))
    lost = np.array([0, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    np.testing.assert_array_equal(np.isinf(stats.standard_errors), lost)
    assert stats.coefficient_errors[1, 0] == pytest.approx(stats.coefficient_errors[2, 0], rel=1e-9)
    assert (stats.rank, stats.free) == (8, 10) and np.isfinite(stats.band(np.array([[0.3]]))).all()


def test_a_dead_neuron_matters_only_where_it_is_alive():
    """A ReLU that is zero on the data: nothing is known of it, nor of the model where it starts."""
    stats = at(*neurons([1.0, 1.0, 1.0], [0.2, -0.4, -5.0], activation="relu"))
    lost = np.isinf(stats.standard_errors)
    assert lost[[2, 5, 8]].all() and np.isfinite(stats.coefficient_errors[3, 0])
    band = stats.band(np.array([[0.0], [1.0], [6.0]]))
    assert np.isfinite(band[:2]).all() and band[2] == np.inf


def test_the_scale_of_a_relu_is_shared_with_its_coefficient():
    """c relu(w x + b) knows w c and b / w only."""
    stats = at(*neurons([2.0], [0.3], activation="relu"))
    np.testing.assert_array_equal(np.isinf(stats.standard_errors), [True, True, True, False])
    slope, kink = (
        stats.derived(lambda theta, C: theta[0] * C[0, 0]),
        stats.derived(lambda theta, C: theta[1] / theta[0]),
    )
    assert 0 < slope[1] < 1 and 0 < kink[1] < 1


def test_equal_features_with_bounds_on_their_coefficients():
    x, y = TIMES, double_exponential(0.05).targets[:, 0]

    def features(p, x):
        return torch.stack([torch.exp(-p[0] * x), torch.exp(-p[0] * x), torch.ones_like(x)], dim=1)

    wide = SeparableProblem(from_function(features, [0.8]), x, y, coefficient_bounds=(-100.0, 100.0))
    stats = at(wide)
    if bool(stats.fixed.any()):
        pytest.skip("the active-set method put one of the two at a bound")
    np.testing.assert_array_equal(np.isinf(stats.standard_errors), [False, True, True, False])


def test_more_features_than_rows():
    x = np.linspace(-1.0, 1.0, 4)[:, None]
    problem = SeparableProblem(mlp(1, (6,)), x, np.sin(x[:, 0]))
    stats = at(problem)
    assert stats.degrees_of_freedom == 0 and np.isnan(stats.sigma) and stats.rank == 4
    assert np.isinf(stats.standard_errors).all() and "no degree of freedom" in repr(stats)
    known = at(problem, noise=0.1)
    np.testing.assert_allclose(known.band(x), 0.1 * norm.ppf(0.975), rtol=1e-9)  # it goes through the data
    assert known.band(np.array([[0.3]])) == np.inf


def test_no_degree_of_freedom():
    problem = SeparableProblem(from_function(decays, START), TIMES[:4], [1.0, 2.0, 0.0, 1.0])
    stats = at(problem)
    assert stats.degrees_of_freedom == 0 and np.isnan(stats.sigma)
    assert np.isnan(stats.standard_errors).all() and np.isnan(stats.interval()).all()
    assert np.isfinite(stats.correlation).all() and "no degree of freedom" in repr(stats)
    assert np.isfinite(at(problem, noise=0.1).standard_errors).all()


def test_nothing_is_free():
    """Every parameter and every coefficient at a bound: errors are zero, and the model is known."""
    problem = SeparableProblem(
        from_function(decays, START), TIMES, -np.ones(60), bounds=(START, (5.0, 6.0)), coefficient_bounds=(0, None)
    )
    stats = at(problem, START)
    assert (stats.free, stats.rank, stats.degrees_of_freedom) == (0, 0, 60) and stats.fixed.all()
    assert not stats.standard_errors.any() and not stats.covariance.any() and not stats.band(TIMES[:3]).any()
    assert (np.array(stats.interval()) == stats.estimates).all() and repr(stats).count("fixed") == 4


# --- options, types, text --------------------------------------------------------------------------------------------


def test_known_noise_sets_sigma_and_the_quantile():
    case = exponentials(weights=WEIGHTS)
    estimated, known = at(case.problem, case.theta), at(case.problem, case.theta, noise=0.2)
    assert known.sigma == 0.2 and known.noise_known and not estimated.noise_known
    np.testing.assert_allclose(known.covariance, estimated.covariance * (0.2 / estimated.sigma) ** 2, rtol=1e-12)
    for stats, quantile in ((known, norm.ppf(0.9)), (estimated, t.ppf(0.9, 56))):
        lower, upper = stats.interval(level=0.8)
        np.testing.assert_allclose(upper - lower, 2 * quantile * stats.standard_errors, rtol=1e-12)
        np.testing.assert_allclose((upper + lower) / 2, stats.estimates, rtol=1e-12)


def test_the_default_level_belongs_to_the_statistics():
    stats = at(exponentials().problem)
    wider = dataclasses.replace(stats, level=0.99)
    np.testing.assert_array_equal(stats.interval(), stats.interval(level=0.95))
    np.testing.assert_array_equal(wider.interval(), stats.interval(level=0.99))
    np.testing.assert_array_equal(wider.band(TIMES), stats.band(TIMES, level=0.99))
    assert "99% interval" in repr(wider)


@pytest.mark.parametrize("squeeze", [True, False])
def test_shapes_and_kinds(squeeze):
    problem = perceptron((4,), 2, 1e-3, squeeze=squeeze).problem
    solution = solve(problem, max_iterations=0, seed=0)
    stats, (q, n, k) = fit_statistics(problem, solution), (12, 5, 1 if squeeze else 2)
    assert stats.parameters.shape == stats.parameter_errors.shape == (q,)
    assert stats.coefficients.shape == stats.coefficient_errors.shape == (n, k)
    assert stats.covariance.shape == stats.correlation.shape == (q + n * k,) * 2
    np.testing.assert_array_equal(
        stats.standard_errors, np.concatenate([stats.parameter_errors, stats.coefficient_errors.ravel()])
    )
    for array in (stats.parameters, stats.coefficients, stats.covariance, stats.standard_errors, *stats.interval()):
        assert isinstance(array, np.ndarray) and array.dtype == np.float64
    new = np.random.default_rng(0).standard_normal((7, 2))
    band, in_torch = stats.band(new), stats.band(torch.from_numpy(new))
    assert isinstance(band, np.ndarray) and band.shape == solution.predict(new).shape
    assert isinstance(in_torch, torch.Tensor) and np.array_equal(in_torch.numpy(), band)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.sigma = 1.0


def test_a_band_in_row_blocks_is_the_band():
    whole, pieces = (perceptron((6, 5), 3, 1e-3, rows=60, memory_limit=limit) for limit in (2**31, 2**20))
    new = np.random.default_rng(0).standard_normal((300, 2))
    close(*(at(case.problem, case.theta).band(new) for case in (whole, pieces)), 1e-10, "band")


def test_single_precision_data():
    x = np.linspace(-1, 1, 50)
    y = np.sin(3 * x)
    features, theta = mlp(1, (3,)), np.array([2.0, 4.0, -3.0, 0.5, -1.0, 0.3])
    double = at(SeparableProblem(features, x[:, None], y, regularization=1e-2), theta)
    single = at(SeparableProblem(features, *map(np.float32, (x[:, None], y)), regularization=1e-2), theta)
    assert single.covariance.dtype == np.float64
    np.testing.assert_allclose(single.standard_errors, double.standard_errors, rtol=1e-2)


def test_many_outputs_need_no_joint_matrix():
    """k = 1000: the joint Jacobian would have 40,000 rows and 5,020 columns."""
    stats = at(perceptron((4,), 1000, 0.0).problem)
    assert stats.coefficient_errors.shape == (5, 1000) and stats.band(np.zeros((3, 2))).shape == (3, 1000)
    assert stats.degrees_of_freedom == 40_000 - 12 - 5000


def test_the_regularization_of_the_solution_counts():
    case = exponentials(outputs=3)
    ridge = solve(case.problem.with_regularization(0.05), max_iterations=0)
    np.testing.assert_array_equal(
        fit_statistics(case.problem, ridge).covariance,
        fit_statistics(case.problem.with_regularization(0.05), ridge).covariance,
    )


def test_a_joint_solution_is_measured_at_its_parameters():
    problem = double_exponential(0.05, start=START)
    adam = solve(problem, FirstOrder("adam", objective="joint"), max_iterations=3)
    stats = fit_statistics(problem, adam)
    np.testing.assert_array_equal(stats.parameters, adam.parameters)
    np.testing.assert_array_equal(stats.standard_errors, at(problem, adam.parameters).standard_errors)


def test_derived_values():
    problem = double_exponential(0.05, start=START)
    stats = fit_statistics(problem, solve(problem))
    value, error = stats.derived(lambda theta, C: np.log(2) / theta[0])
    rate = stats.parameters[0]
    assert value == pytest.approx(np.log(2) / rate, rel=1e-14) and np.ndim(value) == np.ndim(error) == 0
    assert error == pytest.approx(np.log(2) / rate**2 * stats.parameter_errors[0], rel=1e-12)
    np.testing.assert_allclose(stats.derived(lambda theta, C: C[:, 0])[1], stats.coefficient_errors[:, 0], rtol=1e-12)
    gradient = np.array([0.0, 0.0, 1.0, 1.0])
    total = stats.derived(lambda theta, C: C.sum())
    assert total[1] == pytest.approx(np.sqrt(gradient @ stats.covariance @ gradient), rel=1e-10)
    np.testing.assert_array_equal(stats.derived(lambda theta, C: torch.ones(2, dtype=theta.dtype))[1], [0.0, 0.0])


def test_the_table():
    problem = double_exponential(0.05, start=START)
    text = str(fit_statistics(problem, solve(problem)))
    lines = text.splitlines()
    assert lines[0].startswith("FitStatistics: sigma 0.0445") and "56 degrees of freedom, rank 4 of 4" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:]] == ["theta[0]", "theta[1]", "C[0, 0]", "C[1, 0]"]
    assert "relative" in lines[1] and "95% interval" in lines[1] and "%" in lines[2] and "[" in lines[2]
    stopped = str(at(problem, START, noise=0.1))
    assert "(given)" in stopped and "ended as MAX_ITERATIONS" in stopped


def test_a_long_table_is_cut_and_says_so():
    stats = at(perceptron((20,), 2, 1e-2).problem)
    text = repr(stats)
    assert len(text.splitlines()) < 36 and f"... {60 + 42 - 29} more" in text and "C[20, 1]" in text


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(error, match, *arguments, **options):
    with pytest.raises(error, match=match):
        fit_statistics(*arguments, **options)


def test_arguments_that_cannot_be_used_are_named():
    problem = double_exponential(0.05, start=START)
    solution = solve(problem, max_iterations=0)
    refused(ArgumentTypeError, "problem", "problem", solution)
    refused(ArgumentTypeError, "problem", ReducedProblem(problem), solution)
    refused(ArgumentTypeError, "solution", problem, solution.parameters)
    refused(ArgumentError, "solution belongs to another problem", double_exponential(outputs=3), solution)
    refused(ArgumentError, "solution belongs to another problem", perceptron((4,), 1, 0.0).problem, solution)
    for noise in (0.0, -1.0, np.nan, np.inf):
        refused(ArgumentError, "noise", problem, solution, noise=noise)
    for noise in ("0.1", True, [0.1], 1j):
        refused(ArgumentTypeError, "noise", problem, solution, noise=noise)


def test_a_solution_that_is_not_finite_is_refused():
    problem = double_exponential(0.05, start=(-1e3, 1.0))
    solution = solve(problem)
    assert solution.status is Status.NON_FINITE
    refused(ArgumentError, "solution has no statistics", problem, solution)
    finite = solve(double_exponential(0.05, start=START), max_iterations=0)
    moved = dataclasses.replace(finite, parameters=torch.tensor([-1e3, 1.0], dtype=torch.float64))
    refused(ArgumentError, "solution has no statistics", problem, moved)


def test_levels_inputs_and_functions_that_cannot_be_used_are_named():
    stats = at(exponentials().problem)
    for level in (0, 1, 1.5, -0.5, np.nan):
        with pytest.raises(ArgumentError, match="level"):
            stats.interval(level)
        with pytest.raises(ArgumentError, match="level"):
            stats.band(TIMES, level)
    with pytest.raises(ArgumentTypeError, match="level"):
        stats.interval("0.9")
    network_stats = at(perceptron((4,), 1, 0.0).problem)
    for inputs in (np.ones((3, 5)), np.full((3, 2), np.nan)):
        with pytest.raises(ArgumentError, match="inputs"):
            network_stats.band(inputs)
    functions = [
        (3.0, ArgumentTypeError),
        (lambda theta: theta, ArgumentError),
        (lambda theta, C: 1.0, ArgumentTypeError),
        (lambda theta, C: C > 0, ArgumentTypeError),
        (lambda theta, C: C, ArgumentError),
        (lambda theta, C: C[5], ArgumentError),
        (lambda theta, C: torch.from_numpy(np.sin(theta.numpy())), ArgumentError),
    ]
    for function, error in functions:
        with pytest.raises(error, match="function"):
            stats.derived(function)


# --- the checks can fail ---------------------------------------------------------------------------------------------


def changed(**changes):
    """A patch of the factors: attribute -> function of what was there."""
    original = factors.error_factors

    def patched(*arguments):
        found = original(*arguments)
        return dataclasses.replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return fitting, "error_factors", patched


def triangle(rows):
    """A patch of the triangle of Kaufman's Jacobian: that of rows(linearization, H, N1) instead."""
    original = factors._slopes

    def patched(linearization, free):
        H, N1 = original(linearization, free)
        return H, torch.linalg.qr(rows(linearization, H, N1), mode="r").R

    return factors, "_slopes", patched


def quantile(function):
    return report, "t", type("Distribution", (), {"ppf": staticmethod(function)})


def every_parameter(linearization, free):
    return factors.error_factors(linearization, torch.ones_like(free))


def without_offset(values, solved):
    C = solved.coefficients
    return torch.cat([C, C.new_zeros(values.shape[1] - len(C), C.shape[1])])


PLAIN, RIDGE = "3 outputs, weights", "3 outputs, weights, ridge"
MUTATIONS = {
    # name: (patch, case, what notices)
    "Golub-Pereyra instead of Kaufman": (
        triangle(lambda linearization, H, N1: linearization.jacobian("golub-pereyra")),
        PLAIN,
        "standard errors",
    ),
    "theta without the elimination": (
        triangle(lambda linearization, H, N1: torch.cat([N1, H.flatten(0, 1)])),
        PLAIN,
        "standard errors",
    ),
    "the cross block has the wrong sign": (changed(elimination=torch.neg), PLAIN, "covariance"),
    "coefficients as if theta were known": (changed(elimination=torch.zeros_like), PLAIN, "standard errors"),
    "degrees of freedom without the coefficients": (changed(effective=lambda p: p - 6), PLAIN, "degrees"),
    "degrees of freedom off by one": (changed(effective=lambda p: p - 1), RIDGE, "degrees"),
    "degrees of freedom without the ridge": (changed(effective=lambda p: 8.0), RIDGE, "degrees"),
    "parameters alone know of the ridge": (
        changed(root=lambda P: torch.eye(len(P), dtype=P.dtype)),
        RIDGE,
        "standard errors",
    ),
    "theta and C as if independent of each other": (changed(cross=torch.zeros_like), RIDGE, "standard errors"),
    "outputs exchanged": (changed(elimination=lambda Z: Z.flip(0)), PLAIN, "standard errors"),
    "weights are dropped": ((factors, "weighted", lambda rows, weights: rows), PLAIN, "standard errors"),
    "the offset does not move": ((factors, "model_coefficients", without_offset), "offset", "standard errors"),
    "parameters at a bound move": ((fitting, "error_factors", every_parameter), "a parameter at its bound", "degrees"),
    "a null direction is kept": ((factors, "RANK_EXPONENT", 2.0), "a module", "degrees"),
    "a normal quantile": (quantile(lambda p, freedom: norm.ppf(p)), "two exponentials", "band"),
    "a one-sided quantile": (quantile(lambda p, freedom: t.ppf(2 * p - 1, freedom)), "two exponentials", "band"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, monkeypatch):
    patch, name, guard = MUTATIONS[mutation]
    case = CASES[name]()
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError, match=guard):
        algebra_law(case)

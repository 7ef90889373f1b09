"""Problems with their models in plain torch, and dense formulas that every number of the statistics is held to."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import t

from grassvp import SeparableProblem, solve
from grassvp.features import differential_operator, from_function, mlp, under_operator
from grassvp.statistics import fit_statistics
from tests import oracles
from tests.cases import data, gated_features, module_under_test
from tests.solvers.problems import RATES, TIMES, decays, double_exponential

WEIGHTS = np.linspace(0.5, 2.0, 60)
SOME_ZERO = np.where(np.arange(60) % 7 == 0, 0.0, WEIGHTS)
HEAT = {(0,): 1.0, (1, 1): -0.25, (): 0.5}
START = (0.4, 2.5)


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

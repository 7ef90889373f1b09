"""Noise, levels, shapes, types, derived values and the table."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from grassvp import FirstOrder, SeparableProblem, solve
from grassvp.features import mlp
from grassvp.statistics import fit_statistics
from tests.solvers.problems import TIMES, double_exponential
from tests.statistics.cases import START, WEIGHTS, at, close, exponentials, perceptron


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

"""What the data do not determine: copies, dead neurons, shared scales, and too few rows."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from grassvp import SeparableProblem
from grassvp.features import from_function, mlp
from tests.solvers.problems import TIMES, decays, double_exponential
from tests.statistics.cases import START, at


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

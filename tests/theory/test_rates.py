"""Predicted and observed local rates at strict local minima."""

from functools import lru_cache

import numpy as np
import pytest

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.features import mlp
from grassvp.theory import rates
from grassvp.theory.rates import LINEAR_METHODS, linear_rate, newton_rate, strict_minimum


@lru_cache
def minimum(seed, lam=0.01, k=1):
    rng = np.random.default_rng(seed)
    x = np.linspace(-2, 2, 12)
    y = np.sin(2 * x)[:, None] + 0.2 * rng.standard_normal((12, k))
    made = ReducedProblem(SeparableProblem(mlp(1, (2,), seed=seed), x, y, regularization=lam))
    return made, strict_minimum(made, solve(made.problem, seed=seed).parameters)


CASES = [(0, 0.01, 1), (1, 0.01, 1), (2, 0.01, 2), (3, 0.01, 2), (0, 0.0, 1)]


@pytest.mark.parametrize("method", LINEAR_METHODS)
@pytest.mark.parametrize("case", CASES)
def test_the_observed_rate_is_the_predicted_one(case, method):
    made, theta = minimum(*case)
    rate = linear_rate(made, theta, method, rng=case[0])
    assert rate.error < 1e-3, rate
    assert rate.iterations < 20000


def test_the_prediction_of_gradient_descent_is_that_of_the_spectrum():
    made, theta = minimum(0)
    mu = np.linalg.eigvalsh(made.hessian(theta))
    for step in (0.5 / mu[-1], 2.0 / (mu[0] + mu[-1]), 2.2 / mu[-1]):
        rate = linear_rate(made, theta, "gradient-descent", step=step)
        assert rate.predicted == pytest.approx(np.abs(1 - step * mu).max(), rel=1e-12)
        assert rate.error < 1e-2


def test_the_prediction_of_gauss_newton_is_that_of_its_dense_error_map():
    made, theta = minimum(2, 0.01, 2)
    predictions = []
    for kind in ("kaufman", "golub-pereyra"):
        J = made.jacobian(theta, kind)
        dense = np.eye(theta.size) - np.linalg.solve(J.T @ J, made.hessian(theta))
        predictions.append(linear_rate(made, theta, f"gauss-newton-{kind}").predicted)
        assert predictions[-1] == pytest.approx(np.abs(np.linalg.eigvals(dense)).max(), rel=1e-9)
    assert abs(predictions[0] - predictions[1]) > 1e-4 * predictions[0]


def test_one_output_and_one_layer_make_both_jacobians_agree():
    made, theta = minimum(0)
    kaufman, full = (made.jacobian(theta, kind) for kind in ("kaufman", "golub-pereyra"))
    assert np.abs(kaufman - full).max() <= 1e-10


@pytest.mark.parametrize("case", CASES)
def test_newton_is_quadratic_with_the_predicted_constant(case):
    made, theta = minimum(*case)
    rate = newton_rate(made, theta, rng=case[0])
    assert rate.order == pytest.approx(2.0, abs=0.01)
    assert rate.error < 0.01


def test_a_hessian_that_is_wrong_by_a_few_percent_is_noticed(monkeypatch):
    made, theta = minimum(1)
    right = ReducedProblem.hessian
    monkeypatch.setattr(ReducedProblem, "hessian", lambda self, p: 1.03 * right(self, p))
    assert linear_rate(made, theta, "gauss-newton-kaufman").error > 0.01
    assert linear_rate(made, theta, "gradient-descent", step=0.05).error > 0.01
    assert newton_rate(made, theta).order < 1.5


def test_a_jacobian_of_the_other_kind_is_noticed(monkeypatch):
    made, theta = minimum(2, 0.01, 2)
    right = rates._method

    def mixed(problem, at, method, step):
        other = LINEAR_METHODS[1] if method == LINEAR_METHODS[2] else LINEAR_METHODS[2]
        return right(problem, at, method, step)[0], right(problem, at, other, step)[1]

    monkeypatch.setattr(rates, "_method", mixed)
    assert linear_rate(made, theta, "gauss-newton-kaufman", max_iterations=2000).error > 5e-4


def test_a_point_that_is_not_a_minimum_is_refused():
    made, _ = minimum(0)
    with pytest.raises(ValueError, match="strict local minimum"):
        strict_minimum(made, np.array([0.1, 0.1, 0.2, -0.2]), max_iterations=2)


def test_bad_arguments_are_named():
    made, theta = minimum(0)
    with pytest.raises(ValueError, match="method"):
        linear_rate(made, theta, "newton")
    with pytest.raises(ValueError, match="step is for"):
        linear_rate(made, theta, LINEAR_METHODS[1], step=0.1)
    with pytest.raises(ValueError, match="step must"):
        linear_rate(made, theta, LINEAR_METHODS[0], step=0.0)
    with pytest.raises(ValueError, match="size"):
        newton_rate(made, theta, size=2.0)
    with pytest.raises(ValueError, match="minimum must"):
        linear_rate(made, theta[1:], LINEAR_METHODS[0])

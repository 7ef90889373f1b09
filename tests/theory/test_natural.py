"""The natural-gradient flow of over-parametrised networks against the closed form of the flow of the features."""

import numpy as np
import pytest

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import mlp
from grassvp.theory import natural
from grassvp.theory.integration import FlowError
from grassvp.theory.natural import differential_matrix, natural_gradient_flow, natural_velocity
from manifolds import RegularizedGrassmann


def problem(seed, lam, *, widths=(12, 2), rows=4, weights=None):
    """A two-layer tanh network with q > m n and small features, which leaves room for the flow."""
    rng = np.random.default_rng(seed)
    x, Y = rng.standard_normal((rows, 2)), 0.5 * rng.standard_normal((rows, 2))
    features = mlp(2, widths, bias_feature=False, seed=seed)
    made = ReducedProblem(SeparableProblem(features, x, Y, weights=weights, regularization=lam))
    theta = made.initial_parameters.numpy().copy()
    theta[3 * widths[0] :] *= 0.4
    return made, theta, 1.0 / np.linalg.norm(Y, 2) ** 2


@pytest.mark.parametrize("weights", [None, [1.0, 1.5, 0.5, 1.0]])
@pytest.mark.parametrize("lam", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_flow_in_theta_is_the_closed_form(seed, lam, weights):
    made, theta, scale = problem(seed, lam, weights=weights)
    flow = natural_gradient_flow(made, theta, np.linspace(0, 0.4 * scale, 3))
    assert flow.onto and flow.entries == 8
    assert flow.error <= 1e-8
    assert flow.values[-1] < 0.995 * flow.values[0]
    assert "rank of DPhi 8 of 8" in repr(flow)


def test_an_under_parametrised_network_does_not_follow_it():
    made, theta, scale = problem(0, 0.05, widths=(3,), rows=6)
    flow = natural_gradient_flow(made, theta, np.linspace(0, 0.4 * scale, 3))
    assert not flow.onto
    assert flow.error > 1e-3


def test_the_differential_is_that_of_finite_differences():
    made, theta, _ = problem(1, 0.0, weights=[1.0, 2.0, 0.5, 1.0])
    rng = np.random.default_rng(0)
    v, h = rng.standard_normal(theta.size), 1e-5

    def features(at):
        return made.problem.weights.numpy()[:, None] * made.linearize(at).derivatives.values.numpy()

    difference = (features(theta + h * v) - features(theta - h * v)) / (2 * h)
    product = differential_matrix(made.linearize(theta)) @ v
    assert np.linalg.norm(product - difference.reshape(-1)) <= 1e-8 * np.linalg.norm(difference)


@pytest.mark.parametrize("lam", [1e-3, 0.5])
def test_the_least_squares_is_in_the_metric(lam):
    """Where DPhi is not onto, the velocity solves the normal equations of the metric, formed by its inner product."""
    made, theta, _ = problem(2, lam, widths=(1, 1), rows=5)
    point = made.linearize(theta)
    M = RegularizedGrassmann(5, 1, lam)
    Phi, Y = point.derivatives.values.numpy(), made.problem.targets.numpy()
    D = differential_matrix(point).reshape(5, 1, -1)
    columns = np.moveaxis(D, 2, 0)
    gram = np.array([[M.inner_product(Phi, a, b) for a in columns] for b in columns])
    force = np.array([M.inner_product(Phi, a, Y @ (Y.T @ Phi)) for a in columns])
    v = natural_velocity(point)
    assert np.linalg.norm(gram @ v - force) <= 1e-8 * np.linalg.norm(force)
    assert made.gradient(theta) @ v < 0


@pytest.mark.parametrize("change", [lambda v: 1.001 * v, lambda v: np.roll(v, 1)])
def test_a_wrong_velocity_is_noticed(change, monkeypatch):
    right = natural.natural_velocity
    monkeypatch.setattr(natural, "natural_velocity", lambda *arguments: change(right(*arguments)))
    made, theta, scale = problem(0, 0.05)
    assert natural_gradient_flow(made, theta, np.linspace(0, 0.1 * scale, 3), tolerance=1e-6).error > 1e-6


def test_bounded_features_stop_the_flow_with_an_error():
    made, theta, _ = problem(0, 0.05)
    with pytest.raises(FlowError, match="take shorter times"):
        natural_gradient_flow(made, theta, [1e3], tolerance=1e-3, max_evaluations=500)


def test_bad_arguments_are_named():
    made, theta, _ = problem(0, 0.05)
    with pytest.raises(TypeError, match="problem must be"):
        natural_gradient_flow(made.problem, theta, [0.1])
    with pytest.raises(ValueError, match="parameters"):
        natural_gradient_flow(made, theta[1:], [0.1])
    with pytest.raises(ValueError, match="rank_tolerance"):
        natural_gradient_flow(made, theta, [0.1], rank_tolerance=1.0)
    with pytest.raises(ValueError, match="times"):
        natural_gradient_flow(made, theta, [0.1, 0.1])

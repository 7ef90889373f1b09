"""Joint training with a fast output layer against variable projection."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import mlp
from grassvp.theory import two_timescales
from grassvp.theory.two_timescales import joint_point_hessian, two_time_scales

EPSILONS = [1e-3, 2e-4, 4e-5]


def problem(seed, lam=0.05, k=1):
    rng = np.random.default_rng(seed)
    x = np.linspace(-2, 2, 8)
    y = np.sin(2 * x)[:, None] + 0.3 * rng.standard_normal((8, k))
    features = mlp(1, (2,), seed=seed)
    made = ReducedProblem(SeparableProblem(features, x, y, weights=rng.uniform(0.5, 1.0, 8), regularization=lam))
    return made, np.array([1.0, -2.0, 0.5, 0.7]) + 0.1 * rng.standard_normal(4)


@pytest.mark.parametrize(("seed", "lam", "k"), [(0, 0.05, 1), (1, 0.05, 2), (2, 0.05, 1), (3, 0.0, 1)])
def test_the_gap_is_of_order_eps(seed, lam, k):
    made, theta = problem(seed, lam, k)
    study = two_time_scales(made, theta, [0.25, 0.5], EPSILONS, tolerance=1e-8)
    assert study.order == pytest.approx(1.0, abs=0.1)
    assert study.local_orders[-1] == pytest.approx(1.0, abs=0.02)
    assert "order" in repr(study)


def test_against_an_explicit_integrator_of_small_tolerance():
    made, theta = problem(0)
    study = two_time_scales(made, theta, [0.1], [0.1, 0.05], tolerance=1e-10)
    joint, w = made.joint, np.append(np.ones(4), np.full(3, 10.0))
    state = joint.start(torch.from_numpy(theta), zero_coefficients=False).numpy()
    steps, h = 400, 0.1 / 400
    for _ in range(steps):  # the classical Runge-Kutta method
        field = lambda z: -w * joint.linearize(torch.from_numpy(z)).gradient.numpy()  # noqa: E731
        a = field(state)
        b = field(state + h / 2 * a)
        c = field(state + h / 2 * b)
        state = state + h / 6 * (a + 2 * b + 2 * c + field(state + h * c))
    assert np.abs(study.trajectories[0, 0] - state[:4]).max() <= 1e-8


@pytest.mark.parametrize("k", [1, 3])
def test_the_joint_hessian_is_that_of_finite_differences(k):
    made, _ = problem(1, 0.1, k)
    state = np.random.default_rng(0).standard_normal(4 + 3 * k)
    H, h = joint_point_hessian(made.joint.linearize(torch.from_numpy(state))), 1e-5
    gradient = lambda z: made.joint.linearize(torch.from_numpy(z)).gradient.numpy()  # noqa: E731
    columns = [(gradient(state + h * e) - gradient(state - h * e)) / (2 * h) for e in np.eye(state.size)]
    assert np.abs(H - np.array(columns)).max() <= 1e-7 * np.abs(H).max()


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_another_power_of_eps_is_noticed(power, monkeypatch):
    right = two_timescales._joint_flow

    def wrong(problem, theta, times, eps, tolerance):
        return right(problem, theta, times, 1e-3 * (eps / 1e-3) ** power, tolerance)

    monkeypatch.setattr(two_timescales, "_joint_flow", wrong)
    made, theta = problem(0)
    assert abs(two_time_scales(made, theta, [0.2], EPSILONS[:3], tolerance=1e-8).order - 1.0) > 0.1


def test_a_gap_that_does_not_close_is_noticed(monkeypatch):
    right = two_timescales._joint_flow
    monkeypatch.setattr(two_timescales, "_joint_flow", lambda *a: (lambda states, n: (states + 1e-3, n))(*right(*a)))
    made, theta = problem(0)
    assert two_time_scales(made, theta, [0.2], EPSILONS[:3], tolerance=1e-8).order < 0.9


def test_bad_arguments_are_named():
    made, theta = problem(0)
    for times, epsilons, name in [
        ([0.0], [0.1, 0.2], "times"),
        ([0.1], [0.1], "epsilons"),
        ([0.1], [0.0, 0.1], "epsilons"),
    ]:
        with pytest.raises(ValueError, match=name):
            two_time_scales(made, theta, times, epsilons)
    with pytest.raises(ValueError, match="tolerance"):
        two_time_scales(made, theta, [0.1], [0.1, 0.2], tolerance=2.0)
    with pytest.raises(TypeError, match="problem"):
        two_time_scales(made.problem, theta, [0.1], [0.1, 0.2])

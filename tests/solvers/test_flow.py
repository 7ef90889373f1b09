"""The gradient flow against scipy's own integration of the closed-form velocity, and how it ends."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from grassvp import GradientFlow, SeparableProblem, Status, solve
from grassvp.features import from_function
from tests.solvers.problems import Recorder, decays, double_exponential, tower_problem

START = (0.4, 2.5)


def velocity(problem, metric):
    """-G^-1 grad psi for decays, by the formulas of THEORY C1 and B2 with inverses."""
    x, Y, lam = problem.inputs.numpy(), problem.targets.numpy(), problem.regularization

    def field(time, p):
        Phi = np.exp(-np.outer(x, p))
        slopes = -x[:, None] * Phi  # D_j Phi has this column j and zeros elsewhere
        inner = np.linalg.inv(Phi.T @ Phi + lam * np.eye(2))
        C = inner @ Phi.T @ Y
        gradient = -np.sum(slopes * ((Y - Phi @ C) @ C.T), axis=0)
        if metric == "euclidean":
            return -gradient
        outside = np.eye(len(x)) - Phi @ inner @ Phi.T  # I - P_lam, which is lam (Phi Phi^T + lam I)^-1 at lam > 0
        return -np.linalg.solve((slopes.T @ outside @ slopes) * inner, gradient)

    return field


def flow_error(problem, method, steps):
    """(largest relative distance of the iterates from the exact trajectory, how far it went)."""
    keep = Recorder()
    solution = solve(problem, method, max_iterations=steps, tolerance=0.0, callbacks=[keep])
    times = np.cumsum(solution.history["damping"])
    exact = solve_ivp(
        velocity(problem, method.metric), (0.0, times[-1]), START, "DOP853", t_eval=times, rtol=1e-11, atol=1e-13
    )
    path = keep.parameters
    assert times[0] == 0.0 and (np.diff(times) > 0).all() and len(path) == steps + 1
    return np.abs(path / exact.y.T - 1).max(), np.abs(path[-1] / path[0] - 1).max()


@pytest.mark.parametrize("integrator", ["rk23", "rk45", "dop853", "bdf", "radau"])
@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_iterates_lie_on_the_trajectory_of_the_gradient(integrator, lam):
    problem = double_exponential(0.05, start=START, regularization=lam)
    error, moved = flow_error(problem, GradientFlow(integrator=integrator, tolerance=1e-6), 20)
    assert error < (2e-4 if integrator == "bdf" else 2e-5) and moved > 0.02


@pytest.mark.parametrize("integrator", ["rk23", "rk45", "dop853"])
def test_iterates_lie_on_the_trajectory_of_the_natural_gradient(integrator):
    error, moved = flow_error(double_exponential(0.05, start=START), GradientFlow("grassmann", integrator), 12)
    assert error < 2e-5 and moved > 0.02


def test_iterates_lie_on_the_trajectory_of_the_natural_gradient_on_the_regularized_grassmannian():
    problem = double_exponential(0.05, start=START, regularization=0.5)
    error, moved = flow_error(problem, GradientFlow("grassmann"), 12)
    assert error < 2e-5 and moved > 0.02


def test_a_tighter_tolerance_is_closer():
    problem = double_exponential(0.05, start=START)
    loose, tight = (flow_error(problem, GradientFlow(tolerance=t), 15)[0] for t in (1e-3, 1e-9))
    assert tight < 1e-7 and tight < 1e-2 * loose


def test_the_value_falls_and_the_distance_is_travelled():
    history = solve(double_exponential(0.05, start=START), GradientFlow(), max_iterations=20).history
    assert (np.diff(history["value"]) < 0).all() and (history["distance"][1:] > 0).all()
    assert history["evaluations"][-1] > 60 and history["damping"][0] == 0.0


def test_converged():
    """Of one rate alone the flow is not stiff: it reaches the minimum, and says so."""
    x = np.linspace(0.0, 2.0, 20)
    problem = SeparableProblem(from_function(decays, [0.5]), x, 2 * np.exp(-1.5 * x) + 0.01 * np.sin(40 * x))
    solution = solve(problem, GradientFlow(), tolerance=1e-6, max_iterations=200)
    best = solve(problem)
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.parameters, best.parameters, rtol=1e-4)


def test_where_the_features_overflow_shorter_steps_are_tried():
    """exp(exp(p x)) with a first guess of the step that leads beyond what floats can hold."""
    solution = solve(tower_problem(0.55), GradientFlow(), max_iterations=30)
    assert solution.iterations > 3 and np.isfinite(solution.history["value"]).all()
    assert solution.value < solution.history["value"][0]


def test_a_start_that_is_not_finite():
    assert solve(tower_problem(), GradientFlow(), initial_parameters=[1e4]).status is Status.NON_FINITE


def logarithms(p, t):
    """[log(p - t), 1], which do not exist for p below the largest t."""
    return torch.stack([torch.log(p[0] - t), torch.ones_like(t)], 1)


@pytest.mark.parametrize(("start", "spike"), [(1.05, -50.0), (1.001, -50.0), (1.05, -1e6)])
def test_a_flow_that_ends_at_the_edge_of_its_domain_is_a_status(start, spike):
    """Targets that pull p below 1: the flow gets there in finite time, and that is no exception."""
    x = np.linspace(-1.0, 1.0, 40)
    problem = SeparableProblem(from_function(logarithms, [start]), x, np.where(x > 0.99, spike, 0.0))
    solution = solve(problem, GradientFlow(), max_iterations=400)
    assert solution.status in (Status.NON_FINITE, Status.STALLED, Status.MAX_ITERATIONS)
    assert 1.0 < float(solution.parameters[0]) <= start

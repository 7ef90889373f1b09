"""Levenberg-Marquardt and Gauss-Newton: descent, invariance, and classical problems whose answers are known."""

import numpy as np
import pytest
import torch

from grassvp import GaussNewton, LevenbergMarquardt, ReducedProblem, SeparableProblem, Status, solve
from grassvp.features import from_function
from tests.solvers.problems import TIMES, Recorder, decays, double_exponential, joint_minimum, tower_problem, wave

METHODS = {
    f"{method.__name__} {kind}": method(jacobian=kind)
    for method in (LevenbergMarquardt, GaussNewton)
    for kind in ("auto", "golub-pereyra", "kaufman")
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
WEIGHTS = np.linspace(0.5, 2.0, 60)
NOISY = {
    "plain": {},
    "weighted, 3 outputs": {"outputs": 3, "weights": WEIGHTS},
    "regularized": {"outputs": 3, "weights": WEIGHTS, "regularization": 0.05},
}


@every_method
def test_recovers_the_rates_and_coefficients_of_two_exponentials(method):
    solution = solve(double_exponential(), method, tolerance=1e-13)
    assert solution.status is Status.CONVERGED and solution.converged
    np.testing.assert_allclose(solution.parameters, [0.5, 2.0], rtol=1e-8)
    np.testing.assert_allclose(solution.coefficients[:, 0], [2.0, 3.0], rtol=1e-8)
    assert solution.value < 1e-20 and solution.iterations < 20


@every_method
def test_the_value_falls_at_every_step(method):
    history = solve(wave(regularization=1e-8), method, seed=0, max_iterations=40, starts=1).history
    assert len(history["value"]) > 5
    assert (np.diff(history["value"]) < 0).all()


@pytest.mark.parametrize("options", NOISY.values(), ids=NOISY)
def test_every_method_finds_the_joint_minimum_of_scipy(options):
    problem = double_exponential(0.05, start=(0.4, 2.5), **options)
    theta, C, cost = joint_minimum(problem, [0.4, 2.5])
    assert cost > 1e-3
    for name, method in METHODS.items():
        solution = solve(problem, method, tolerance=1e-14)
        np.testing.assert_allclose(solution.parameters, theta, rtol=1e-8, err_msg=name)
        np.testing.assert_allclose(solution.coefficients, C, rtol=1e-8, atol=1e-8, err_msg=name)
        assert solution.value == pytest.approx(cost, rel=1e-12)


def test_the_example_of_o_leary_and_rust():
    """Three parameters, two features, weights; the problem of the paper (Comput. Optim. Appl. 54, 2013).

    The answer is the minimum to 15 digits, from Newton's method on the joint problem in mpmath with 40 digits.
    """
    t = np.array([0, 0.1, 0.22, 0.31, 0.46, 0.5, 0.63, 0.78, 0.85, 0.97])
    y = [6.9842, 5.1851, 2.8907, 1.4199, -0.2473, -0.5243, -1.0156, -1.0260, -0.9165, -0.6805]
    w = [1, 1, 1, 0.5, 0.5, 1, 0.5, 1, 0.5, 0.5]

    def model(p, x):
        return torch.stack([torch.exp(-p[1] * x) * torch.cos(p[2] * x), torch.exp(-p[0] * x) * torch.cos(p[1] * x)], 1)

    problem = SeparableProblem(from_function(model, [0.5, 2.0, 3.0]), t, y, weights=w)
    theta, C = [1.01322644303495, 2.49686595227934, 4.06251052675773], [[5.84164522035723], [1.14367588988632]]
    for method in METHODS.values():
        solution = solve(problem, method)
        np.testing.assert_allclose(solution.parameters, theta, rtol=1e-9)
        np.testing.assert_allclose(solution.coefficients, C, rtol=1e-9)
        assert np.sqrt(2 * solution.value / 5) == pytest.approx(2.753935489e-3, rel=1e-9)


def reference_iterates(reduced, theta, count, kind, mu=1e-3):
    """Levenberg-Marquardt written out: More's scaling, Nielsen's damping, the stacked system by lstsq."""
    D, growth, value, path = 0.0, 2.0, reduced.value(theta), [theta]
    while len(path) <= count:
        J, r = reduced.jacobian(theta, kind), np.asarray(reduced.linearize(theta).residual).ravel()
        D = np.maximum(D, np.linalg.norm(J, axis=0))
        stacked = np.concatenate([J, np.sqrt(mu) * np.diag(D)])
        p = np.linalg.lstsq(stacked, np.concatenate([-r, np.zeros(len(theta))]), rcond=None)[0]
        ahead = reduced.value(theta + p)
        rho = (value - ahead) / (0.5 * r @ r - 0.5 * np.sum((r + J @ p) ** 2))
        if rho > 0:
            theta, value, mu, growth = theta + p, ahead, mu * max(1 / 3, 1 - (2 * min(rho, 2) - 1) ** 3), 2.0
            path.append(theta)
        else:
            mu, growth = mu * growth, 2 * growth
    return np.array(path)


@pytest.mark.parametrize("options", NOISY.values(), ids=NOISY)
@pytest.mark.parametrize("start", [(0.2, 4.0), (3.0, 3.2)], ids=str)
@pytest.mark.parametrize("kind", ["golub-pereyra", "kaufman"])
def test_levenberg_marquardt_against_its_definition(options, start, kind):
    problem = double_exponential(0.05, start=start, **options)
    keep = Recorder()
    solve(problem, LevenbergMarquardt(kind), max_iterations=6, tolerance=0.0, callbacks=[keep])
    expected = reference_iterates(ReducedProblem(problem), np.array(start), 6, kind)
    np.testing.assert_allclose(keep.parameters, expected, rtol=1e-7)


@pytest.mark.parametrize("kind", ["golub-pereyra", "kaufman"])
def test_the_first_step_of_gauss_newton(kind):
    problem = double_exponential(0.05, start=(0.4, 2.5), **NOISY["regularized"])
    reduced, start = ReducedProblem(problem), np.array([0.4, 2.5])
    J, r = reduced.jacobian(start, kind), np.asarray(reduced.linearize(start).residual).ravel()
    solution = solve(problem, GaussNewton(kind), max_iterations=1)
    np.testing.assert_allclose(solution.parameters, start - np.linalg.lstsq(J, r, rcond=None)[0], rtol=1e-10)
    assert solution.history["damping"][1] == 1.0


@pytest.mark.parametrize("method", [LevenbergMarquardt(), GaussNewton()], ids=type)
@pytest.mark.parametrize("factors", [[2.0**12, 2.0**-9], [1e3, 3e-3]], ids=str)
def test_iterates_do_not_depend_on_the_units_of_the_parameters(method, factors):
    """theta = S eta: the iterates eta are those of theta divided by S."""
    problem, S = double_exponential(0.05), torch.tensor(factors, dtype=torch.float64)
    features = from_function(lambda p, x: decays(S * p, x), problem.initial_parameters / S)
    plain, scaled = Recorder(), Recorder()
    first = solve(problem, method, callbacks=[plain])
    second = solve(SeparableProblem(features, problem.inputs, problem.targets), method, callbacks=[scaled])
    assert len(plain.records) > 5
    shared = min(first.iterations, second.iterations) + 1
    np.testing.assert_allclose(scaled.parameters[:shared] * factors, plain.parameters[:shared], rtol=1e-9)


@pytest.mark.parametrize("method", [LevenbergMarquardt(), GaussNewton()], ids=type)
def test_a_step_that_overflows_is_rejected_and_the_run_goes_on(method):
    problem = tower_problem()
    reduced, start = ReducedProblem(problem), problem.initial_parameters.numpy()
    J, r = reduced.jacobian(start), reduced.linearize(start).residual.numpy().ravel()
    assert reduced.value(start + np.linalg.lstsq(J, -r, rcond=None)[0]) == np.inf
    solution = solve(problem, method, tolerance=1e-12)
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.parameters, [0.5], rtol=1e-8)
    assert solution.history["evaluations"][-1] > solution.iterations + 1


def test_a_step_to_where_only_the_derivative_overflows_is_rejected_too():
    """The value tempts the run to p = -177, where the features are finite and their gradient is not."""
    problem = SeparableProblem(from_function(decays, [3.0, 3.2]), TIMES, np.sin(3 * np.arange(60.0)))
    solution = solve(problem)
    assert solution.status is not Status.NON_FINITE and np.isfinite(solution.gradient_norm)


@pytest.mark.parametrize("start", [(4.04, 3.9), (5.98, 5.886)], ids=str)
def test_an_undamped_start_of_levenberg_marquardt_ends(start):
    """A first step that is rejected at initial_damping = 0 must not be proposed for ever."""
    calls = 0

    def counted(p, x):
        nonlocal calls
        calls += 1
        assert calls < 2000, "the damping never grows from zero"
        return decays(p, x)

    exact = double_exponential()
    problem = SeparableProblem(from_function(counted, start), exact.inputs, exact.targets)
    solution = solve(problem, LevenbergMarquardt(initial_damping=0.0))
    np.testing.assert_allclose(np.sort(solution.parameters), [0.5, 2.0], rtol=1e-8)


def test_methods_hold_no_state():
    method, problem = LevenbergMarquardt(), double_exponential(0.05)
    first = solve(problem, method)
    solve(wave(), method, seed=0, max_iterations=3)
    assert torch.equal(solve(problem, method).parameters, first.parameters)
    with pytest.raises(AttributeError):
        method.jacobian = "kaufman"

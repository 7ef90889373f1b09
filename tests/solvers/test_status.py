"""Every status is provoked, and what it says is checked against the returned parameters."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grassvp import (
    FirstOrder,
    GaussNewton,
    LevenbergMarquardt,
    NaturalGradient,
    ReducedProblem,
    SeparableProblem,
    Status,
    TrustRegion,
    solve,
    solving,
    starts,
)
from grassvp.features import from_function
from grassvp.solvers import loop
from tests.solvers.problems import TIMES, decays, double_exponential, gradients, joint_value, tower_problem, wave

METHODS = [
    LevenbergMarquardt(),
    LevenbergMarquardt("kaufman"),
    GaussNewton(),
    FirstOrder("lbfgs"),
    FirstOrder("lbfgs", objective="joint", coefficients="projected"),
    FirstOrder("adam", learning_rate=0.05),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)
OPTIONS = {"outputs": 3, "weights": np.linspace(0.5, 2.0, 60), "regularization": 0.05}


def size(tensors):
    return float(torch.linalg.vector_norm(torch.cat([tensor.flatten() for tensor in tensors])))


@every_method
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "weights, 3 outputs, lam"])
def test_converged_means_that_the_gradient_test_holds(method, options):
    problem, tolerance = double_exponential(0.05, start=(0.4, 2.5), **options), 1e-7
    solution = solve(problem, method, tolerance=tolerance, max_iterations=2000)
    threshold = tolerance * float((problem.weighted_targets**2).sum())
    by_theta, by_C = gradients(problem, solution)
    joint = getattr(method, "objective", "reduced") == "joint"
    recomputed = size([by_theta, by_C] if joint else [by_theta])
    assert solution.status is Status.CONVERGED
    assert recomputed <= threshold * (1 + 1e-4)
    assert solution.gradient_norm == pytest.approx(recomputed, rel=1e-4)
    assert joint or size([by_C]) < 1e-12 * size([problem.weighted_targets])
    assert (solution.history["gradient_norm"][:-1] > threshold).all()


@pytest.mark.parametrize("method", METHODS[:4], ids=repr)
def test_stalled_where_nothing_can_be_gained(method):
    problem = double_exponential(0.05, start=(0.4, 2.5), **OPTIONS)
    solution = solve(problem, method, tolerance=0.0)
    assert solution.status is Status.STALLED and solution.gradient_norm > 0 and solution.rank == 2
    reduced, g = ReducedProblem(problem), gradients(problem, solution)[0].numpy()
    H = reduced.hessian(solution.parameters).numpy()
    assert (np.linalg.eigvalsh(H) > 0).all()
    assert 0.5 * g @ np.linalg.solve(H, g) < 1e-12 * solution.value


def turned(p, x):
    """Decays whose derivative has the wrong sign."""
    return decays(2 * p.detach() - p, x)


@pytest.mark.parametrize("method", [GaussNewton(), NaturalGradient()], ids=type)
def test_damped_out_where_the_derivatives_are_wrong(method):
    noisy = double_exponential(0.05)
    problem = SeparableProblem(from_function(turned, [0.4, 2.5]), noisy.inputs, noisy.targets)
    solution = solve(problem, method)
    assert solution.status is Status.DAMPED_OUT and solution.iterations == 0 and not solution.converged
    assert "derivatives do not describe the value" in solution.message and np.isfinite(solution.value)
    right = SeparableProblem(from_function(decays, [0.4, 2.5]), noisy.inputs, noisy.targets)
    assert solve(right, method, max_iterations=3).status is Status.MAX_ITERATIONS


@pytest.mark.parametrize("method", [*METHODS[:4], TrustRegion(), TrustRegion(subproblem="dogleg")], ids=repr)
def test_wrong_derivatives_never_pass_for_convergence(method):
    noisy = double_exponential(0.05)
    problem = SeparableProblem(from_function(turned, [0.4, 2.5]), noisy.inputs, noisy.targets)
    solution = solve(problem, method)
    assert solution.status in (Status.DAMPED_OUT, Status.STALLED) and solution.iterations == 0


def cliff(p, x):
    """exp(-p x), whose derivative is NaN where p is above 1: a square root at zero, times nothing."""
    return torch.exp(-p[0] * x)[:, None] + 0.0 * torch.sqrt(torch.relu(1.0 - p[0]))


@pytest.mark.parametrize("method", METHODS[:4], ids=repr)
def test_a_derivative_that_is_not_finite_at_the_start(method):
    problem = SeparableProblem(from_function(cliff, [0.5]), TIMES, np.exp(-0.2 * TIMES))
    solution = solve(problem, method, initial_parameters=[2.0])
    assert np.isfinite(solution.history["value"]).all()
    assert solution.status is Status.NON_FINITE and solution.iterations == 0 and np.isnan(solution.gradient_norm)
    assert solve(problem, method, tolerance=1e-9).parameters[0] == pytest.approx(0.2, rel=1e-6)


def twins(p, x):
    """Two decays, the first of them twice: the rank is at most two of three."""
    return decays(torch.stack([p[0], p[0], p[1]]), x)


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_rank_deficient(method):
    noisy = double_exponential(0.05)
    problem = SeparableProblem(from_function(twins, [0.4, 2.5]), noisy.inputs, noisy.targets)
    solution = solve(problem, method, tolerance=0.0)
    assert solution.status is Status.RANK_DEFICIENT
    Phi = problem.features(solution.parameters, problem.inputs)
    assert solution.rank == np.linalg.matrix_rank(Phi.numpy(), rtol=1e-10) == 2
    assert "regularization" in solution.message
    expected = solve(noisy, tolerance=0.0).parameters
    np.testing.assert_allclose(solution.parameters, expected, rtol=1e-7)
    ridge = SeparableProblem(problem.features, noisy.inputs, noisy.targets, regularization=1e-6)
    assert solve(ridge, method, tolerance=0.0).status is Status.STALLED


@every_method
@pytest.mark.parametrize("limit", [0, 1, 3])
def test_max_iterations(method, limit):
    solution = solve(double_exponential(0.05), method, max_iterations=limit)
    assert solution.status is Status.MAX_ITERATIONS
    assert solution.iterations == limit and len(solution.history["value"]) == limit + 1


@every_method
@pytest.mark.parametrize(("seconds", "iterations"), [(0.0, 0), (0.9, 0), (3.5, 3), (4.0, 3), (10.0, 5)])
def test_max_time_by_a_clock_of_its_own(method, seconds, iterations, monkeypatch):
    """Each look at the clock takes a second, the first at the call of solve; five iterations are allowed."""
    ticks = iter(range(10**6))
    for module in (loop, solving):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    solution = solve(double_exponential(0.05), method, max_time=seconds, max_iterations=5, initial_parameters=[0.2, 4])
    expected = Status.MAX_TIME if iterations < 5 else Status.MAX_ITERATIONS
    assert solution.status is expected and solution.iterations == iterations
    np.testing.assert_array_equal(solution.history["seconds"], np.arange(1.0, iterations + 2))
    assert (solution.history["seconds"][:-1] < seconds).all() and solution.elapsed == iterations + 2


def test_the_time_that_a_choice_of_start_takes_counts(monkeypatch):
    """Ten seconds go by while the starts are drawn: none are left for the first step."""
    now = [0.0]
    for module in (loop, solving):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow(*args):
        now[0] += 10.0
        return starts.field_of_starts(*args)

    monkeypatch.setattr(solving, "field_of_starts", slow)
    solution = solve(wave(regularization=1e-8), seed=0, max_time=5.0)
    assert solution.status is Status.MAX_TIME and solution.iterations == 0 and solution.elapsed == 10.0


@every_method
@pytest.mark.parametrize("start", [[1e4], [-1e4]], ids=str)
def test_non_finite_start(method, start):
    problem = SeparableProblem(from_function(lambda p, x: torch.exp(p[0] * (x - 1))[:, None], [1.0]), TIMES, TIMES)
    solution = solve(problem, method, initial_parameters=start)
    assert solution.status is Status.NON_FINITE and solution.iterations == 0 and not solution.converged
    assert solution.parameters.tolist() == start and np.isnan(solution.value)
    assert solution.coefficients.shape == (1, 1) and solution.predict(TIMES).shape == (60,)
    assert "not finite" in solution.message and "NON_FINITE" in repr(solution)
    assert {len(column) for column in solution.history.values()} == {0}


def test_a_start_whose_joint_coefficients_cannot_be_solved_for_is_a_status_too():
    method = FirstOrder("adam", objective="joint", coefficients="projected")
    assert solve(tower_problem(), method, initial_parameters=[1e4]).status is Status.NON_FINITE


def test_a_first_order_step_that_overflows_is_rejected_and_the_run_goes_on():
    problem = tower_problem(0.4)
    solution = solve(problem, FirstOrder("adam", learning_rate=2.0))
    assert solution.status is not Status.NON_FINITE and solution.iterations > 0
    assert np.isfinite(solution.history["value"]).all() and np.isfinite(solution.history["gradient_norm"]).all()
    assert solution.history["damping"][-1] < 2.0


def stop_after(count, what=KeyboardInterrupt):
    """A callback that raises at its record number `count`."""

    def callback(record):
        if record.iteration == count:
            raise what

    return callback


@every_method
def test_interrupted_in_a_callback_keeps_the_best_iterate(method):
    problem = double_exponential(0.05)
    solution = solve(problem, method, callbacks=[stop_after(4)])
    assert solution.status is Status.INTERRUPTED and solution.iterations == 4
    assert solution.value == pytest.approx(solution.history["value"].min(), rel=1e-12)
    assert solution.value < solution.history["value"][0]
    by_theta = gradients(problem, solution)[0]
    assert by_theta.isfinite().all() and solution.coefficients.isfinite().all()


@every_method
def test_interrupted_in_the_features_keeps_the_best_iterate(method):
    calls = [0, 10**9]

    def fragile(p, x):
        calls[0] += 1
        if calls[0] > calls[1]:
            raise KeyboardInterrupt
        return decays(p, x)

    noisy = double_exponential(0.05)
    problem = SeparableProblem(from_function(fragile, [0.2, 4.0]), noisy.inputs, noisy.targets)
    calls[0] = 0
    solve(problem, method, max_iterations=5)
    calls[:] = [0, calls[0] - 1]
    solution = solve(problem, method, max_iterations=5)
    assert solution.status is Status.INTERRUPTED and 1 <= solution.iterations <= 5
    assert solution.value == pytest.approx(solution.history["value"].min(), rel=1e-12)
    assert solution.value < solution.history["value"][0]
    assert len(solution.history["value"]) == solution.iterations + 1


def test_interrupted_with_several_starts():
    problem = wave(regularization=1e-8)
    solution = solve(problem, seed=0, callbacks=[stop_after(2)])
    assert solution.status is Status.INTERRUPTED
    assert solution.value == pytest.approx(solution.history["value"].min(), rel=1e-12)
    assert solution.value <= solve(problem, seed=0, max_iterations=0).value


def test_other_exceptions_of_callbacks_reach_the_caller():
    with pytest.raises(ZeroDivisionError):
        solve(double_exponential(), callbacks=[stop_after(1, ZeroDivisionError)])


@every_method
def test_stopped_by_a_callback_at_once(method):
    seen = []

    def callback(record):
        seen.append(record.iteration)
        return record.iteration == 3

    solution = solve(double_exponential(0.05), method, callbacks=[callback])
    assert solution.status is Status.STOPPED and solution.iterations == 3 and seen == [0, 1, 2, 3]


@every_method
def test_stopped_with_several_starts_ends_the_run_at_that_record(method):
    seen = []

    def callback(record):
        seen.append(record.iteration)
        return record.iteration == 3

    problem = wave(regularization=1e-8)
    solution = solve(problem, method, seed=0, callbacks=[callback])
    assert solution.status is Status.STOPPED and seen == [0, 1, 2, 3] and solution.iterations == 3
    assert solution.value == pytest.approx(solution.history["value"].min(), rel=1e-9)
    found = joint_value(problem, solution.parameters, solution.coefficients)
    assert solution.value == pytest.approx(float(found), rel=1e-6)


@pytest.mark.parametrize("answer", [np.True_, torch.tensor(True)], ids=["numpy", "torch"])
def test_a_true_value_of_numpy_or_torch_stops_too(answer):
    assert solve(double_exponential(0.05), callbacks=[lambda record: answer]).status is Status.STOPPED


@pytest.mark.parametrize("answer", [None, False, 1, "yes", 0.5])
def test_other_answers_do_not_stop(answer):
    assert (
        solve(double_exponential(0.05), tolerance=1e-10, callbacks=[lambda record: answer]).status is Status.CONVERGED
    )


def test_convergence_is_told_before_a_stop_or_a_limit():
    problem = double_exponential()
    exact = [0.5, 2.0]
    for options in ({"max_iterations": 0}, {"max_time": 0.0}, {"callbacks": [lambda record: True]}):
        assert solve(problem, initial_parameters=exact, tolerance=1e-12, **options).status is Status.CONVERGED

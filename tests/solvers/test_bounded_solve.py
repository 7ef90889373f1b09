"""Bounds on theta and on C: minima at and inside the box against scipy, and what never leaves it."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from grassvp import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    ReducedProblem,
    SeparableProblem,
    Status,
    TrustRegion,
    solve,
)
from grassvp.errors import ArgumentError
from grassvp.features import from_function
from tests.solvers.problems import TIMES, Recorder, decays, double_exponential, wave

METHODS = {
    "LM": LevenbergMarquardt(),
    "LM accelerated": LevenbergMarquardt(geodesic_acceleration=True),
    "LM parameters": LevenbergMarquardt(scaling="parameters"),
    "LM dual": LevenbergMarquardt(linear_algebra="dual"),
    "LM matrix-free": LevenbergMarquardt(linear_algebra="matrix-free"),
    "GN": GaussNewton(),
    "TR": TrustRegion(),
    "TR dogleg": TrustRegion(subproblem="dogleg"),
    "TR steihaug": TrustRegion(subproblem="steihaug", linear_algebra="matrix-free"),
    "TR exact": TrustRegion("exact"),
    "TR corrected": TrustRegion("corrected"),
    "NG": NaturalGradient(),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
START = (0.9, 1.4)
BOXES = {
    "inside": (0.1, 5.0),
    "lower": ([0.7, 0.0], None),
    "upper": (None, [9.0, 1.6]),
    "corner": ([0.8, 0.0], [9.0, 1.5]),
    "one side": (None, [np.inf, 1.6]),
}


def reduced_residual(problem):
    """theta -> r by numpy's lstsq, the coefficients without bounds."""

    def residual(theta):
        A = np.exp(-np.outer(TIMES, theta))
        Y, lam = problem.targets.numpy(), problem.regularization
        if lam:
            A, Y = np.vstack([A, lam**0.5 * np.eye(2)]), np.vstack([Y, np.zeros((2, Y.shape[1]))])
        return (Y - A @ np.linalg.lstsq(A, Y, rcond=None)[0]).ravel()

    return residual


@every_method
@pytest.mark.parametrize("name", BOXES)
def test_minima_at_and_inside_the_box_are_those_of_scipy(name, method):
    problem = double_exponential(0.05, start=START, bounds=BOXES[name])
    box = problem.bounds
    solution = solve(problem, method, tolerance=1e-8, max_iterations=400)
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-12}
    expected = least_squares(
        reduced_residual(problem), START, bounds=(box.lower.numpy(), box.upper.numpy()), jac="3-point", **tight
    )
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.parameters, expected.x, atol=2e-4)
    assert solution.value == pytest.approx(expected.cost, rel=1e-7)
    at_bound = (solution.parameters == box.lower) | (solution.parameters == box.upper)
    assert int(at_bound.sum()) == {"inside": 0, "corner": 2}.get(name, 1), "a bound is reached exactly"
    gradient = ReducedProblem(problem).gradient(solution.parameters)
    assert solution.gradient_norm == pytest.approx(float(gradient[~at_bound].norm()), rel=1e-6, abs=1e-14)
    if name != "inside":
        assert float(gradient[at_bound].abs().min()) > 1e-3, "the gradient itself does not vanish"


@every_method
@pytest.mark.parametrize("name", BOXES)
def test_no_iterate_leaves_the_box(name, method):
    problem, keep = double_exponential(0.05, start=START, bounds=BOXES[name]), Recorder()
    history = solve(problem, method, max_iterations=30, callbacks=[keep]).history
    path = torch.from_numpy(keep.parameters)
    assert bool((path >= problem.bounds.lower).all()) and bool((path <= problem.bounds.upper).all())
    assert (np.diff(history["value"]) <= 1e-14 * history["value"][0]).all()
    steps = np.linalg.norm(np.diff(keep.parameters, axis=0), axis=1)
    np.testing.assert_allclose(history["step_norm"][1:], steps, rtol=1e-9, atol=1e-15)


def test_nor_does_rounding_take_one_out_of_it():
    """From starts whose unit in the last place is larger than that of the bound."""
    logs = lambda p, t: torch.stack([torch.log(p[0] + t), torch.ones_like(t)], 1)  # noqa: E731
    x, rng = np.linspace(0.0, 1.0, 30), np.random.default_rng(0)
    for start, lower in zip(rng.uniform(5, 5e3, 20), rng.uniform(0, 1, 20), strict=True):
        problem = SeparableProblem(from_function(logs, [start]), x, 2 * np.log(1e-3 + x) + 1, bounds=(lower, None))
        keep = Recorder()
        solve(problem, LevenbergMarquardt(), callbacks=[keep], max_iterations=30)
        assert (keep.parameters >= lower).all()


@every_method
def test_bounds_that_are_far_away_change_nothing(method):
    free, boxed = (
        solve(double_exponential(0.05, **options), method, max_iterations=6, tolerance=0.0).history["value"]
        for options in ({}, {"bounds": (-1e3, 1e3)})
    )
    np.testing.assert_allclose(boxed, free, rtol=1e-9)


def test_a_start_in_the_corner_that_is_the_minimum_stays_there():
    problem = double_exponential(0.05, start=(0.8, 1.5), bounds=BOXES["corner"])
    for method in METHODS.values():
        solution = solve(problem, method, tolerance=1e-10)
        assert solution.status is Status.CONVERGED and solution.iterations == 0 and solution.gradient_norm == 0.0


def test_a_bound_that_holds_at_first_is_left():
    """theta_1 = 0.05 at its lower bound, where the value falls inwards."""
    problem = double_exponential(0.05, start=(0.05, 1.4), bounds=(0.05, None))
    free = solve(double_exponential(0.05, start=(0.4, 1.4)))
    for name, method in METHODS.items():
        solution = solve(problem, method, tolerance=1e-8, max_iterations=400)
        np.testing.assert_allclose(solution.parameters, free.parameters, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("options", "name"), [({}, "bounds"), ({"initial_parameters": [0.2, 4.0]}, "initial_parameters")], ids=str
)
def test_a_start_outside_of_the_box_is_an_error(options, name):
    problem = double_exponential(start=(0.2, 4.0), bounds=(0.3, 3.0))
    with pytest.raises(ArgumentError, match=rf"{name}.*\[0\.2.*outside"):
        solve(problem, **options)
    assert solve(problem, initial_parameters=[0.3, 3.0], max_iterations=1).iterations == 1, "the edge is inside"


class Bare:
    """A method that has never heard of bounds."""

    def iterate(self, problem, start):
        return LevenbergMarquardt().iterate(problem, start)


@pytest.mark.parametrize(
    "method", [FirstOrder(), FirstOrder("lbfgs"), GradientFlow(), Bare()], ids=lambda m: type(m).__name__
)
def test_methods_that_do_not_handle_bounds_refuse(method):
    with pytest.raises(ArgumentError, match=r"solver must handle the bounds"):
        solve(double_exponential(start=START, bounds=(0.0, None)), method)
    assert solve(double_exponential(), method, max_iterations=1).iterations == 1


@pytest.mark.parametrize("initialization", ["auto", "random", "data"])
def test_networks_start_and_stay_within_their_bounds(initialization):
    problem, keep = wave(regularization=1e-6, bounds=(-4.0, 4.0)), Recorder()
    solution = solve(problem, seed=0, initialization=initialization, max_iterations=25, callbacks=[keep], restarts=1)
    assert (np.abs(keep.parameters) <= 4.0).all() and (np.abs(keep.parameters) == 4.0).any()
    assert solution.value < 0.5 * solution.history["value"][0]


def test_evaluations_are_counted_at_the_bounds_too():
    problem = double_exponential(0.05, start=START, bounds=BOXES["corner"])
    reduced, calls = ReducedProblem(problem), []
    original, elsewhere = reduced.linearize, type(reduced.linearize(START)).residual_at
    reduced.linearize = lambda at: calls.append("linearize") or original(at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(original(START)), "residual_at", lambda self, at: calls.append("r") or elsewhere(self, at))
        for iterate in METHODS["LM accelerated"].iterate(reduced, problem.initial_parameters):
            assert iterate.evaluations == len(calls)
    assert "r" in calls


# --- bounds on the coefficients -------------------------------------------------------------------------------------


def joint_minimum(problem, theta, low, high, box):
    """(theta, C, value) by scipy's trust region on the joint residual with bounds on everything."""
    shape = (problem.width, problem.outputs)
    x, Y = problem.inputs.numpy(), problem.targets.numpy()
    root = np.sqrt(problem.regularization)

    def residual(v):
        C = v[2:].reshape(shape)
        return np.concatenate([(np.exp(-np.outer(x, v[:2])) @ C - Y).ravel(), root * v[2:]])

    start = np.clip(ReducedProblem(problem).linearize(theta).coefficients.numpy().ravel(), low + 1e-3, high - 1e-3)
    lower = np.concatenate([np.full(2, box[0]), np.full(start.size, low)])
    upper = np.concatenate([np.full(2, box[1]), np.full(start.size, high)])
    found = least_squares(
        residual, np.concatenate([theta, start]), bounds=(lower, upper), jac="3-point",
        xtol=1e-15, ftol=1e-15, gtol=1e-13, max_nfev=5000,
    )  # fmt: skip
    return found.x[:2], found.x[2:].reshape(shape), found.cost


LIMITS = {"nonnegative": (0.0, np.inf), "box": (-0.4, 2.0)}
REDUCED = ["LM", "LM accelerated", "LM matrix-free", "GN", "TR", "TR exact", "TR corrected"]


def three_outputs(lam, limits, **options):
    """Noisy decays with coefficients that want to be of either sign: each output has its own active set."""
    mix = np.array([[2.0, -1.0, 2.5], [3.0, 1.5, -0.6]])
    Y = np.exp(-np.outer(TIMES, [0.5, 2.0])) @ mix + 0.05 * np.random.default_rng(0).standard_normal((60, 3))
    upper = None if limits[1] == np.inf else limits[1]
    features = from_function(decays, [0.4, 2.5])
    return SeparableProblem(features, TIMES, Y, regularization=lam, coefficient_bounds=(limits[0], upper), **options)


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("name", LIMITS)
def test_the_joint_bounded_minimum_of_scipy(name, lam):
    problem, limits = three_outputs(lam, LIMITS[name]), LIMITS[name]
    theta, C, value = joint_minimum(problem, np.array([0.4, 2.5]), *limits, (-np.inf, np.inf))
    for method in REDUCED:
        solution = solve(problem, METHODS[method], tolerance=1e-9, max_iterations=300)
        assert solution.status is Status.CONVERGED, method
        np.testing.assert_allclose(solution.parameters, theta, atol=1e-5, err_msg=method)
        np.testing.assert_allclose(solution.coefficients, C, atol=1e-4, err_msg=method)
        assert solution.value == pytest.approx(value, rel=1e-6)
        held = (solution.coefficients == limits[0]) | (solution.coefficients == limits[1])
        assert len({tuple(column) for column in held.T.tolist()}) >= 2 and 0 < int(held.sum()) < 6


def test_bounds_on_both_at_once():
    limits, box = LIMITS["nonnegative"], (0.3, 1.2)
    problem = three_outputs(0.0, limits, bounds=box)
    theta, C, value = joint_minimum(problem, np.array([0.4, 1.1]), *limits, box)
    solution = solve(problem, initial_parameters=[0.4, 1.1], tolerance=1e-9)
    assert solution.status is Status.CONVERGED and float(solution.parameters[1]) == 1.2
    np.testing.assert_allclose(solution.parameters, theta, atol=1e-5)
    np.testing.assert_allclose(solution.coefficients, C, atol=1e-4)
    assert solution.value == pytest.approx(value, rel=1e-7)


def test_a_joint_method_refuses_bounds_on_the_coefficients():
    with pytest.raises(ArgumentError, match="solver must be a reduced method"):
        solve(three_outputs(0.0, LIMITS["box"]), FirstOrder(objective="joint"))
    assert solve(three_outputs(0.0, LIMITS["box"]), FirstOrder("lbfgs"), max_iterations=3).iterations == 3

"""`minimize_criterion`: minima that scipy finds too, what it reports, and how it ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from grassvp import (
    CriterionProblem,
    FirstOrder,
    LevenbergMarquardt,
    ReducedProblem,
    SeparableProblem,
    Status,
    minimize_criterion,
    rules,
    selecting,
    solve,
)
from grassvp import criterion as criterion_module
from grassvp.errors import GrassvpError
from grassvp.features import from_function, mlp
from tests.projection.test_rules import dense_gcv
from tests.solvers.problems import TIMES, Recorder, double_exponential

START = (0.4, 2.5)
CRITERIA = ("gcv", "evidence", rules.GCV(1.4))
X = np.linspace(-1.0, 1.0, 40)[:, None]


def problem(**options):
    return double_exponential(0.05, start=START, **options)


def network(seed=0, noise=0.2, width=6, **options):
    y = np.sin(4 * X[:, 0]) + noise * np.random.default_rng(seed).standard_normal(40)
    return SeparableProblem(mlp(1, (width,)), X, y, **options)


def minimum_law(criterion, **options):
    """Scipy's minimum with its own line search and differences for gradients."""
    given = problem(**options)
    target = CriterionProblem(given, criterion)
    expected = minimize(target.value, START, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10})
    found = minimize_criterion(given, criterion, tolerance=1e-8)
    assert found.status is Status.CONVERGED and found.value <= expected.fun + 1e-9 * abs(expected.fun)
    np.testing.assert_allclose(np.sort(found.parameters), np.sort(expected.x), atol=1e-4)
    return given, target, found


def report_law(criterion, **options):
    """A solution says what its parameters give."""
    given, target, found = minimum_law(criterion, **options)
    point = target.linearize(found.parameters)
    assert found.value == point.value and found.regularization == point.regularization
    assert found.gradient_norm == pytest.approx(float(torch.linalg.vector_norm(point.gradient)), rel=1e-9)
    entries = given.rows * given.outputs if criterion == "evidence" else 1
    assert found.gradient_norm <= 1e-8 * entries
    fixed = ReducedProblem(given.with_regularization(found.regularization)).linearize(found.parameters)
    assert torch.equal(found.coefficients, fixed.coefficients) and found.rank == fixed.rank
    np.testing.assert_array_equal(found.predict(TIMES), given.predict(found.parameters, found.coefficients, TIMES))
    history = found.history
    assert len(history["value"]) == found.iterations + 1 and history["value"][-1] == found.value
    assert (np.diff(history["value"]) <= 1e-12 * abs(found.value)).all(), "a line search does not climb"
    assert history["regularization"][-1] == found.regularization and (np.diff(history["evaluations"]) > 0).all()


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_the_minimum_is_that_of_scipy_and_is_reported_truly(criterion):
    report_law(criterion)


def test_weights_and_two_outputs():
    report_law("evidence", outputs=2, weights=np.linspace(0.5, 2, 60))


def test_the_lam_of_the_problem_is_not_used():
    first, *others = (
        minimize_criterion(problem(regularization=lam), max_iterations=4) for lam in (0.0, 1.0, "auto", "evidence")
    )
    for other in others:
        assert other.value == pytest.approx(first.value, rel=1e-12)
        np.testing.assert_allclose(other.parameters, first.parameters, rtol=1e-9)


def test_a_reduced_problem_and_adam_will_do():
    given = ReducedProblem(problem())
    best = minimize_criterion(given, "gcv", tolerance=1e-8)
    adam = minimize_criterion(given, "gcv", solver=FirstOrder("adam", learning_rate=0.05), max_iterations=80)
    assert adam.iterations == 80 and best.value <= adam.value < best.value + 1e-2
    assert adam.value == pytest.approx(adam.history["value"].min()), "the best iterate"


def improvement_law():
    """From where a few iterations of a solve ended the criterion comes down by much."""
    given = network(noise=0.4, regularization=1e-2)
    target = CriterionProblem(given)
    start = solve(given, seed=0, max_iterations=5)
    found = minimize_criterion(given, "gcv", initial_parameters=start.parameters, max_iterations=30)
    assert found.value < target.value(start.parameters) - 0.05


def test_it_goes_on_from_a_solve():
    improvement_law()


def no_iterations_law():
    """Log GCV at the start, least over lam, by hat matrices."""
    A, Y = np.exp(-TIMES[:, None] * START), problem().targets.numpy()
    dense = minimize_scalar(lambda x: dense_gcv(A, Y, math.exp(x)), bounds=(-14, 2), method="bounded").fun + math.log(
        60
    )
    assert minimize_criterion(problem(), max_iterations=0).value == pytest.approx(dense, rel=1e-7)


def test_the_value_is_that_of_numpy():
    no_iterations_law()


def test_where_it_starts():
    """From the best draw by the criterion, from what is given, or from the features' own parameters."""
    given = network()
    target = CriterionProblem(given, "evidence")
    drawn = minimize_criterion(given, "evidence", seed=3, max_iterations=0)
    assert drawn.iterations == 0 and drawn.status is Status.MAX_ITERATIONS
    assert (
        drawn.value
        == target.value(drawn.parameters)
        < np.median(
            [
                minimize_criterion(given, "evidence", seed=3, initial_parameters=t, max_iterations=0).value
                for t in draws(given)
            ]
        )
    )
    theta = 0.7 * given.initial_parameters.numpy()
    for kind in (theta, torch.from_numpy(theta), list(theta)):
        np.testing.assert_array_equal(
            minimize_criterion(given, initial_parameters=kind, max_iterations=0).parameters, theta
        )
    assert minimize_criterion(problem(), max_iterations=0).parameters.tolist() == list(START)


def draws(given):
    rng = np.random.default_rng(0)
    return [given.features.sample(rng, given.inputs, scale) for scale in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]


def test_equal_seeds_agree_and_no_global_state_is_touched():
    before = np.random.get_state()[1].tolist(), torch.random.get_rng_state(), torch.is_grad_enabled()
    given = network()
    theta = given.initial_parameters
    first, again, other = (minimize_criterion(given, seed=seed, max_iterations=5) for seed in (0, 0, 1))
    assert torch.equal(first.parameters, again.parameters) and first.value == again.value
    assert not torch.equal(first.parameters, other.parameters) and torch.equal(theta, given.initial_parameters)
    assert np.random.get_state()[1].tolist() == before[0] and torch.is_grad_enabled() == before[2]
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize("at", [0, 1, 4])
@pytest.mark.parametrize("status", [Status.STOPPED, Status.INTERRUPTED])
def test_a_callback_ends_it(status, at):
    keep = Recorder()

    def end(record):
        if record.iteration == at and status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return record.iteration == at

    found = minimize_criterion(problem(), callbacks=[keep, end])
    assert found.status is status and found.iterations == at
    assert [record.iteration for record in keep.records] == list(range(at + 1))
    assert found.value == CriterionProblem(problem()).value(found.parameters) == keep.records[-1].value


def test_limits():
    assert minimize_criterion(problem(), max_time=0.0).status is Status.MAX_TIME
    short = minimize_criterion(problem(), max_iterations=3, tolerance=0.0)
    assert short.status is Status.MAX_ITERATIONS and short.iterations == 3
    assert minimize_criterion(problem(), tolerance=1e9).status is Status.CONVERGED


@pytest.mark.parametrize("criterion", ["gcv", "evidence"])
def test_the_tolerance_of_the_evidence_is_per_entry(criterion):
    tolerance_law(criterion)


def tolerance_law(criterion):
    given = problem(outputs=2)
    target = CriterionProblem(given, criterion)
    slope = float(np.linalg.norm(target.gradient(np.array(START)))) / (120 if criterion == "evidence" else 1)
    assert minimize_criterion(given, criterion, tolerance=slope * 1.01, max_iterations=0).converged
    assert not minimize_criterion(given, criterion, tolerance=slope * 0.99, max_iterations=0).converged


def test_starts_that_cannot_be_used_are_a_status():
    found = minimize_criterion(problem(), initial_parameters=[-1e5, 1.0])
    assert found.status is Status.NON_FINITE and found.iterations == 0 and math.isnan(found.value)
    assert math.isnan(found.regularization) and found.parameters.tolist() == [-1e5, 1.0]
    assert found.coefficients.shape == (2, 1) and bool(torch.isnan(found.coefficients).all())
    zero = SeparableProblem(mlp(1, (3,)), X, np.zeros(40))
    assert minimize_criterion(zero, seed=0).status is Status.NON_FINITE


def cliff(p, x):
    """Features that are not finite beyond p = 0."""
    return torch.exp(-x[:, None] * torch.stack([torch.log(p[0]), 4.0 + 0.0 * p[0]]))


@pytest.mark.parametrize("size", [1.0, 1e-6])
@pytest.mark.parametrize("criterion", ["gcv", "evidence"])
def test_a_line_search_turns_back_from_where_features_are_not_finite(criterion, size):
    """Whether values are negative or not: the first step, of length 1, ends where they are infinite."""
    x = np.linspace(0.2, 3.0, 30)
    y = np.exp(-x * math.log(0.3)) + 0.01 * np.random.default_rng(0).standard_normal(30)
    given = SeparableProblem(from_function(cliff, [0.9]), x, size * y)
    assert (CriterionProblem(given, criterion).value([0.9]) < 0) == (size < 1)
    assert CriterionProblem(given, criterion).value([-0.1]) == math.inf
    found = minimize_criterion(given, criterion)
    assert math.isfinite(found.value) and found.parameters[0] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"criterion": "no"}, "criterion"),
        ({"criterion": "auto"}, "criterion"),
        ({"solver": LevenbergMarquardt()}, "solver"),
        ({"solver": FirstOrder("lbfgs", objective="joint")}, "solver"),
        ({"solver": FirstOrder}, "solver"),
        ({"solver": "lbfgs"}, "solver"),
        ({"initial_parameters": [1.0]}, "initial_parameters"),
        ({"initial_parameters": "one"}, "initial_parameters"),
        ({"seed": -1}, "seed"),
        ({"seed": "one"}, "seed"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"max_iterations": 2.5}, "max_iterations"),
        ({"max_time": -1.0}, "max_time"),
        ({"max_time": math.nan}, "max_time"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": "small"}, "tolerance"),
        ({"callbacks": 3}, "callbacks"),
        ({"callbacks": [3]}, "callbacks"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(options, name):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        minimize_criterion(problem(), **options)
    assert isinstance(caught.value, GrassvpError)


@pytest.mark.parametrize("bad", [None, "problem", 3])
def test_a_problem_that_is_none_is_named(bad):
    with pytest.raises(TypeError, match="problem"):
        minimize_criterion(bad)


GRADIENT = criterion_module.CriterionPoint.gradient.func
MAX_ITERATIONS = selecting.MaxIterations


def point_of_misfit(self, parameters):
    """The point with the value of the reduced problem."""
    point = LINEARIZE(self, parameters)
    return replace(point, value=point.linearization.value)


LINEARIZE = CriterionProblem.linearize
MUTATIONS = {
    "gradients have the wrong sign": (
        (criterion_module.CriterionPoint, "gradient", property(lambda self: -GRADIENT(self))),
        lambda: minimum_law("gcv"),
    ),
    "gradients are those of the misfit": (
        (criterion_module.CriterionPoint, "gradient", property(lambda self: self.linearization.gradient)),
        lambda: minimum_law("evidence"),
    ),
    "the misfit is minimised": ((CriterionProblem, "linearize", point_of_misfit), no_iterations_law),
    "the tolerance is not per entry": ((selecting, "Evidence", int), lambda: tolerance_law("evidence")),
    "nothing is minimised": ((selecting, "MaxIterations", lambda count: MAX_ITERATIONS(0)), improvement_law),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()

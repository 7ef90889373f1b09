"""Several starts run to their ends: the best, the spread, and that processes change nothing."""

import numpy as np
import pytest
import torch

from grassvp import LevenbergMarquardt, SeparableProblem, Status, multistart, solve
from grassvp.features import from_function
from tests.solvers.problems import TIMES, double_exponential, wave

FEW = {"max_iterations": 5}


def frequency(start=3.0, **options):
    """sin(p t) fitted to sin(5 t): many local minima in p."""
    features = from_function(lambda p, x: torch.sin(p[0] * x)[:, None], [start])
    return SeparableProblem(features, TIMES, 2.0 * np.sin(5.0 * TIMES), **options)


def test_the_best_of_all_starts_is_reported_with_the_spread():
    found = multistart(frequency(), starts=12, seed=0)
    assert len(found.solutions) == 12 and found.best.value == found.values.min() == found.spread[0]
    low, middle, high = found.spread
    assert low <= middle <= high and middle == np.median(found.values) and high == found.values.max()
    assert found.best.value < 1e-20 < 1.0 < high, "some starts are caught in local minima, one is not"
    assert abs(found.best.parameters[0].abs() - 5.0) < 1e-9
    assert 1 <= found.agreeing() < 12 and found.agreeing(1.0) == 12
    text = repr(found)
    assert "12 starts" in text and "CONVERGED" in text and f"{found.agreeing()} agree" in text


def test_the_first_start_is_the_features_own():
    problem = frequency()
    found = multistart(problem, starts=2, seed=0)
    assert found.solutions[0].value == solve(problem).value


def test_a_bounded_problem_is_started_all_over_its_box():
    found = multistart(frequency(bounds=(1.0, 9.0)), starts=16, seed=0, max_iterations=0)
    starts = np.array([float(solution.parameters) for solution in found.solutions])
    assert starts[0] == 3.0 and (starts >= 1.0).all() and (starts <= 9.0).all()
    counts = np.histogram(starts[1:], bins=np.linspace(1.0, 9.0, 16))[0]
    assert (counts == 1).all(), "a Latin hypercube has one point in every fifteenth"


@pytest.mark.parametrize("make", [wave, lambda **o: double_exponential(0.05, **o)], ids=["wave", "decays"])
def test_processes_change_nothing(make):
    problem = make(regularization=1e-8)
    alone, together = (multistart(problem, starts=3, seed=4, jobs=jobs, **FEW) for jobs in (1, 2))
    np.testing.assert_allclose(together.values, alone.values, rtol=1e-6)
    assert [s.status for s in together.solutions] == [s.status for s in alone.solutions]
    assert together.best.predict(TIMES).shape == (60,), "a solution from another process predicts"


def test_more_starts_than_kinds_of_them():
    found = multistart(wave(regularization=1e-8), starts=11, seed=0, initialization="random", max_iterations=0)
    assert len(found.solutions) == 11 and len({float(s.parameters[0]) for s in found.solutions}) == 11


def test_options_reach_the_solve():
    method = LevenbergMarquardt(scaling="columns")
    found = multistart(wave(), method, starts=2, seed=0, max_iterations=1)
    assert all(solution.iterations <= 1 for solution in found.solutions)
    assert all(solution.method.scaling == "columns" for solution in found.solutions)
    assert all(s.status is Status.MAX_TIME for s in multistart(wave(), starts=2, seed=0, max_time=0.0).solutions)


def test_starts_that_are_not_finite_do_not_hide_the_others():
    features = from_function(lambda p, x: torch.exp(p[0] * x)[:, None], [1e4])
    found = multistart(SeparableProblem(features, TIMES, np.exp(-TIMES), bounds=(-1e4, 1e4)), starts=6, seed=0)
    assert np.isnan(found.values[0]) and np.isfinite(found.best.value) and np.isfinite(found.spread).all()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"starts": 0}, "starts"),
        ({"starts": 2.0}, "starts"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 1.5}, "jobs"),
        ({"jobs": True}, "jobs"),
        ({"seed": -1}, "seed"),
        ({"initialization": "best"}, "initialization"),
        ({"spread": 0.0}, "spread"),
        ({"spread": "wide"}, "spread"),
        ({"callbacks": []}, "callbacks"),
        ({"solver": 3}, "solver"),
    ],
    ids=repr,
)
def test_bad_arguments_are_named(options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        multistart(double_exponential(), **{"starts": 2, **options})
    with pytest.raises(TypeError, match="problem"):
        multistart("problem")

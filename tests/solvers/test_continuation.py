"""Continuation from a large regularization to a small one: stages, solves, and where they end."""

import numpy as np
import pytest
import torch

from grassvp import Continuation, LevenbergMarquardt, ReducedProblem, Status, solve
from grassvp.errors import GrassvpError
from tests.solvers.problems import Recorder, double_exponential, least_squares_value, wave

START = (0.2, 4.0)
PATH = Continuation(1.0, 1e-6, factor=0.1, iterations=2)


def problem(regularization=PATH, **options):
    return double_exponential(0.05, start=START, regularization=regularization, **options)


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        (Continuation(1.0, 1e-3), [1.0, 0.1, 0.01, 1e-3]),
        (Continuation(1.0, 0.05, factor=0.5), [1.0, 0.5, 0.25, 0.125, 0.0625, 0.05]),
        (Continuation(1.0, 0.9), [1.0, 0.9]),
        (Continuation(8.0, factor=0.25, smallest=1e-2), [8.0, 2.0, 0.5, 0.125, 0.08, 0.0]),
        (Continuation(1.0, smallest=1e-3), [1.0, 0.1, 0.01, 1e-3, 0.0]),
    ],
    ids=str,
)
def test_stages_fall_by_the_factor_and_end_at_stop(path, stages):
    np.testing.assert_allclose(path.stages, stages, rtol=1e-12)


@pytest.mark.parametrize(
    ("start", "stop", "factor"), [(1.0, 0.0, 0.1), (3.7, 1e-9, 0.3), (1e-30, 0.0, 0.9), (2.0**0.5, 1.0, 0.999)]
)
def test_stages_always_fall(start, stop, factor):
    stages = Continuation(start, stop, factor=factor).stages
    assert stages[0] == start and stages[-1] == stop and (np.diff(stages) < 0).all()
    ratios = np.divide(stages[1:-1], stages[:-2])
    assert (ratios >= factor * (1 - 1e-9)).all()


@pytest.mark.parametrize("stop", [0.0, 1e-6])
def test_the_history_shows_the_path_and_the_solution_is_that_of_the_last_stage(stop):
    path = Continuation(1.0, stop, factor=0.1, iterations=2, smallest=1e-4)
    found, keep = problem(path), Recorder()
    solution = solve(found, tolerance=1e-12, callbacks=[keep])
    lams = solution.history["regularization"]
    assert list(dict.fromkeys(lams)) == path.stages and (np.diff(lams) <= 0).all()
    assert all((lams[1:] == lam).sum() <= 2 for lam in path.stages[:-1]), "at most two iterations each, but the last"
    assert (lams[1:] == path.stages[0]).sum() == 2 and solution.status is Status.CONVERGED
    assert solution.regularization == stop and solution.history["iteration"].tolist() == list(range(len(lams)))
    assert solution.value == pytest.approx(least_squares_value(problem(stop), solution.parameters), rel=1e-10)
    direct = solve(problem(stop), tolerance=1e-12)
    assert solution.value == pytest.approx(direct.value, rel=1e-9)
    np.testing.assert_allclose(solution.parameters, direct.parameters, rtol=1e-6)
    for record, lam in zip(keep.records, lams, strict=True):
        assert record.regularization == lam
        assert record.value == pytest.approx(least_squares_value(problem(float(lam)), record.parameters), rel=1e-9)
    assert (np.diff(solution.history["evaluations"]) > 0).all() and (np.diff(solution.history["seconds"]) >= 0).all()


def test_each_stage_starts_where_the_one_before_it_ended():
    """Stage by stage by hand, and one iteration of the last stage: far from where any of them would end."""
    theta, stages = list(START), [1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6]
    for lam, count in zip(stages, [2] * 6 + [1], strict=True):
        theta = solve(problem(lam), initial_parameters=theta, max_iterations=count, tolerance=0.0).parameters
    solution = solve(problem(), max_iterations=13, tolerance=0.0)
    assert solution.iterations == 13
    np.testing.assert_allclose(solution.parameters, theta, rtol=1e-12)


def test_every_step_leads_from_one_record_to_the_next_across_stages():
    keep = Recorder()
    solve(problem(), max_iterations=13, tolerance=0.0, callbacks=[keep])
    moved = np.linalg.norm(np.diff(np.array(keep.parameters), axis=0), axis=1)
    np.testing.assert_allclose(moved, [record.step_norm for record in keep.records[1:]], rtol=1e-9)


@pytest.mark.parametrize("limit", [0, 1, 3, 5, 9])
def test_a_solve_that_runs_out_of_iterations_is_valued_at_stop(limit):
    found, keep = problem(), Recorder()
    solution = solve(found, max_iterations=limit, tolerance=0.0, callbacks=[keep])
    assert solution.status is Status.MAX_ITERATIONS and solution.iterations == limit
    assert solution.regularization == PATH.stop
    last = keep.parameters[-1]
    np.testing.assert_array_equal(solution.parameters, last)
    assert solution.value == pytest.approx(least_squares_value(problem(PATH.stop), last), rel=1e-10)
    assert solution.gradient_norm == pytest.approx(np.linalg.norm(ReducedProblem(problem(PATH.stop)).gradient(last)))
    assert [record.iteration for record in keep.records] == list(range(limit + 1))


@pytest.mark.parametrize("at", [0, 1, 4])
@pytest.mark.parametrize("status", [Status.STOPPED, Status.INTERRUPTED])
def test_a_solve_that_is_ended_on_the_way_is_valued_at_stop_too(status, at):
    keep = Recorder()

    def end(record):
        if record.iteration == at and status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return record.iteration == at

    solution = solve(problem(), callbacks=[keep, end])
    assert solution.status is status and solution.iterations == at and solution.regularization == PATH.stop
    assert solution.history["regularization"][-1] > PATH.stop and len(keep.records) == at + 1
    assert solution.value == pytest.approx(least_squares_value(problem(PATH.stop), solution.parameters), rel=1e-10)


def test_no_time_at_all():
    solution = solve(problem(), max_time=0.0)
    assert solution.status is Status.MAX_TIME and solution.iterations == 0 and solution.regularization == PATH.stop


def test_a_start_that_is_not_finite():
    solution = solve(problem(), initial_parameters=[-1e4, 1.0])
    assert solution.status is Status.NON_FINITE and np.isnan(solution.value)


def test_networks_with_their_starts_and_restarts():
    """Large lam first: the best of the field is chosen there, and the rest of the path is its own."""
    found = wave(regularization=Continuation(1e-2, 1e-8, factor=0.01, iterations=5))
    solution, again = (solve(found, seed=0, max_iterations=40, restarts=1) for _ in range(2))
    assert torch.equal(solution.parameters, again.parameters)
    assert solution.regularization == 1e-8 and solution.value < 1e-2 * solve(found, seed=0, max_iterations=0).value
    drawn = solve(wave(regularization=1e-8), seed=0, max_iterations=0)
    assert solve(found, seed=0, max_iterations=0).value == drawn.value, "no iteration: the best draw at the last lam"


def test_it_finds_what_a_solve_from_the_same_start_misses():
    """A start at which the second decay is a constant in all but name: the ridge keeps it from being used."""
    start = (0.05, 40.0)
    path = Continuation(100.0, 0.0, factor=0.3, iterations=5)
    direct, continued = (double_exponential(0.05, start=start, regularization=lam) for lam in (0.0, path))
    one, other = (solve(each, LevenbergMarquardt(), tolerance=1e-11) for each in (direct, continued))
    assert other.converged and other.value <= one.value * (1 + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((0.0,), {}, "start"),
        ((-1.0,), {}, "start"),
        ((1.0, 1.0), {}, "start"),
        ((1e-3, 1.0), {}, "start"),
        (("1",), {}, "start"),
        ((np.inf,), {}, "start"),
        ((1.0, -1.0), {}, "stop"),
        ((1.0, None), {}, "stop"),
        ((1.0,), {"factor": 0.0}, "factor"),
        ((1.0,), {"factor": 1.0}, "factor"),
        ((1.0,), {"factor": "half"}, "factor"),
        ((1.0,), {"smallest": 0.0}, "smallest"),
        ((1.0,), {"smallest": 2.0}, "smallest"),
        ((1.0,), {"iterations": 0}, "iterations"),
        ((1.0,), {"iterations": 2.5}, "iterations"),
    ],
    ids=str,
)
def test_options_that_cannot_be_used_are_named(arguments, options, name):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        Continuation(*arguments, **options)
    assert isinstance(caught.value, GrassvpError)


def test_a_problem_with_another_lam_has_no_path():
    found = problem()
    assert found.regularization == PATH.stop and found.continuation is PATH
    other = found.with_regularization(0.5)
    assert other.continuation is None and other.regularization == 0.5
    assert solve(other, max_iterations=3).history["regularization"].tolist() == [0.5] * 4

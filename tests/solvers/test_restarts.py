"""Restarts from random changes of the best parameters: never worse, as many as asked, the true status of the best."""

import numpy as np
import pytest
import torch

from grassvp import FirstOrder, GaussNewton, SeparableProblem, Status, solve, solving
from grassvp.features import from_function
from tests.solvers.problems import TIMES, Recorder, double_exponential, wave


def frequency(start=4.2, **options):
    """sin(p t) fitted to sin(5 t): many local minima in p."""
    features = from_function(lambda p, x: torch.sin(p[0] * x)[:, None], [start])
    return SeparableProblem(features, TIMES, 2.0 * np.sin(5.0 * TIMES), **options)


def starts(records):
    """Where every run that the callbacks saw began."""
    return [record.parameters.numpy() for record in records if record.iteration == 0]


@pytest.mark.parametrize("method", [None, GaussNewton(), FirstOrder("lbfgs", objective="joint")], ids=repr)
@pytest.mark.parametrize("seed", range(2))
def test_never_worse_than_without(method, seed):
    for problem in (wave(regularization=1e-8), frequency()):
        options = {"seed": seed, "max_iterations": 8, "starts": 2}
        without, one, two = (solve(problem, method, restarts=count, **options) for count in (0, 1, 2))
        assert two.value <= one.value <= without.value


def test_a_restart_leaves_a_local_minimum():
    alone = solve(frequency())
    assert alone.value > 1.0 and abs(alone.parameters[0]) != pytest.approx(5.0, abs=0.1)
    found = solve(frequency(), seed=1, restarts=8)
    assert found.value < 1e-20 and abs(found.parameters[0]) == pytest.approx(5.0, rel=1e-9)
    assert found.status is Status.CONVERGED and found.history["value"][-1] == found.value


@pytest.mark.parametrize("count", [0, 1, 4])
def test_there_are_as_many_as_asked_and_each_starts_near_the_best_so_far(count):
    keep = Recorder()
    solve(frequency(), seed=0, restarts=count, callbacks=[keep])
    found = starts(keep.records)
    assert len(found) == count + 1
    ends = [record for record, after in zip(keep.records, [*keep.records[1:], None], strict=True)
            if after is None or after.iteration == 0]  # fmt: skip
    for number in range(1, len(found)):
        best = min(ends[:number], key=lambda record: record.value).parameters.numpy()
        step = abs(found[number] - best) / abs(best)
        assert 0 < step < 0.5, "a tenth of the parameters, and that times a normal number"


def test_they_follow_the_seed():
    first, again, other = (solve(frequency(), seed=s, restarts=3, max_iterations=4) for s in (0, 0, 1))
    assert torch.equal(first.parameters, again.parameters) and not torch.equal(first.parameters, other.parameters)


def test_the_status_is_that_of_the_best_run():
    """The first run converges at the minimum; later ones have no time to get there, and may not rename it."""
    best = solve(double_exponential(), initial_parameters=[0.5, 2.0], tolerance=1e-12, restarts=2, max_iterations=0)
    assert best.status is Status.CONVERGED and best.value < 1e-20
    late = solve(double_exponential(0.05), restarts=2, seed=0, max_iterations=2)
    assert late.status is Status.MAX_ITERATIONS and late.iterations == 2


@pytest.mark.parametrize("status", [Status.STOPPED, Status.INTERRUPTED])
def test_a_stop_in_a_restart_ends_the_solve(status):
    """Nine restarts are asked for, the second is stopped, and the best run keeps its status."""
    seen = []

    def stop(record):
        seen.append(record.iteration)
        if seen.count(0) == 3 and status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return seen.count(0) == 3

    solution = solve(double_exponential(), tolerance=1e-12, seed=0, restarts=9, callbacks=[stop])
    assert seen.count(0) == 3 and seen[-1] == 0, "nothing ran after the stop"
    assert solution.status is Status.CONVERGED and solution.value < 1e-20


def test_no_restart_after_a_stop_or_without_a_finite_start():
    keep = Recorder()
    stopped = solve(frequency(), seed=0, restarts=5, callbacks=[keep, lambda record: record.iteration == 1])
    assert stopped.status is Status.STOPPED and len(keep.records) == 2
    features = from_function(lambda p, x: torch.exp(p[0] * x)[:, None], [1e4])
    dead = solve(SeparableProblem(features, TIMES, TIMES), restarts=5, seed=0)
    assert dead.status is Status.NON_FINITE


def test_a_restart_without_a_finite_start_loses(monkeypatch):
    monkeypatch.setattr(solving, "perturbed", lambda *_: torch.tensor([-1e6, 1.0], dtype=torch.float64))
    solution = solve(double_exponential(0.05), restarts=2, tolerance=1e-9)
    assert solution.status is Status.CONVERGED and np.isfinite(solution.value)


@pytest.mark.parametrize("value", [-1, 1.5, "two", None, True])
def test_counts_that_cannot_be_used_are_named(value):
    with pytest.raises((ValueError, TypeError), match="restarts"):
        solve(double_exponential(), restarts=value)

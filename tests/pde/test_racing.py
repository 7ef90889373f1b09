"""Starts that race: the best goes on, as it would have by itself; interrupts and limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp import pde, solve
from grassvp.features import mlp
from grassvp.pde import racing
from grassvp.pde.racing import race
from grassvp.pde.solving import Numbered
from grassvp.solvers import Status


def bratu():
    return pde.PDE(
        pde.Box({"x": (0, 1)}),
        lambda u, x: u.d("x", "x") + torch.exp(u.value),
        conditions=[pde.dirichlet("boundary")],
        linear=False,
    ).collocate(mlp(1, (8,)), interior=40, boundary=2)


def starts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(16) * scale) for scale in (0.02, 3.0, 1.0, 40.0)[:count]]


def run(count, iterations, callbacks=(), **options):
    rng = np.random.default_rng(1)
    return race(bratu(), starts(count), seed=rng, max_iterations=iterations, numbered=Numbered(callbacks), **options)


def test_the_best_after_the_trial_goes_on(monkeypatch):
    monkeypatch.setattr(racing, "TRIAL", 3)
    alone = [solve(bratu(), initial_parameters=each, max_iterations=3) for each in starts(3)]
    best = min(alone, key=lambda each: each.value)
    found = run(3, 12)
    assert found.history["value"][: len(best.history["value"])] == pytest.approx(best.history["value"], rel=1e-9)
    assert found.value < best.value and 3 < found.iterations <= 12
    np.testing.assert_array_equal(found.history["iteration"][:4], range(4))


def test_a_race_within_the_trial_is_a_comparison():
    alone = [solve(bratu(), initial_parameters=each, max_iterations=2).value for each in starts(4)]
    assert run(4, 2).value == pytest.approx(min(alone), rel=1e-9)
    assert run(4, 0).iterations == 0


def test_a_winner_that_says_converged_at_the_end_of_its_trial_goes_on(monkeypatch):
    """A gradient that is small at a limit is said to be, and falls on where the run goes on."""
    monkeypatch.setattr(racing, "TRIAL", 3)
    honest = racing.solve
    monkeypatch.setattr(racing, "solve", lambda *given, **options: said(honest(*given, **options), Status.CONVERGED))
    assert run(3, 12).iterations > 3


def test_a_winner_that_ended_before_its_trial_did_is_the_end(monkeypatch):
    monkeypatch.setattr(racing, "TRIAL", 3)
    counts, honest = [], racing.solve

    def short(*given, max_iterations, **options):
        counts.append(max_iterations)
        return said(honest(*given, max_iterations=2, **options), Status.STALLED)

    monkeypatch.setattr(racing, "solve", short)
    assert run(3, 12).status is Status.STALLED and counts == [3, 3, 3]


def said(solution, status):
    return replace(solution, status=status)


def test_one_start_is_a_solve():
    alone = solve(bratu(), initial_parameters=starts(1)[0], max_iterations=7)
    found = run(1, 7)
    assert torch.equal(found.parameters, alone.parameters) and found.iterations == alone.iterations


def test_a_start_that_fails_does_not_win():
    """With weights beyond the range of numbers the features are not finite, and nothing is ahead of that."""
    rng, far = np.random.default_rng(1), torch.full((16,), 1e308, dtype=torch.float64)
    assert solve(bratu(), initial_parameters=far, max_iterations=4).status is Status.NON_FINITE
    found = race(bratu(), [far, starts(2)[1]], seed=rng, max_iterations=4, numbered=Numbered(()))
    assert np.isfinite(found.value) and found.status is not Status.NON_FINITE


def test_records_are_numbered_through_and_an_interrupt_ends_the_race(monkeypatch):
    monkeypatch.setattr(racing, "TRIAL", 4)
    seen = []
    run(3, 8, [lambda record: seen.append(record.iteration)])
    assert seen == list(range(seen[-1] + 1)) and seen[-1] >= 12

    def interrupt(record):
        if record.iteration == 6:
            raise KeyboardInterrupt

    stopped = run(3, 8, [interrupt])  # in the second run, while the first may be ahead
    assert stopped.status is Status.INTERRUPTED and stopped.iterations <= 4
    assert run(3, 8, [lambda record: record.iteration == 6]).status is Status.STOPPED


def test_time_is_of_all_runs():
    found = run(4, 10**6, max_time=0.0)
    assert found.status is Status.MAX_TIME and found.iterations == 0


def test_a_race_that_the_slowest_wins_is_noticed(monkeypatch):
    monkeypatch.setattr(racing, "_value", lambda run: -run.value)
    with pytest.raises(AssertionError):
        test_a_race_within_the_trial_is_a_comparison()

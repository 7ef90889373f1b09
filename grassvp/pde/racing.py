"""Starts that race: each is trained for some iterations, the best one is trained on.

What a start is worth shows early: those that get into a long valley fall behind by orders of magnitude within the first
iterations, and a network that goes on from one at the end of another problem is no exception.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from grassvp.pde.solving import Numbered, joined
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution, Status
from grassvp.solving import solve

__all__ = ["race"]

TRIAL = 25  # iterations after which starts are compared
ENDED = (Status.INTERRUPTED, Status.STOPPED, Status.MAX_TIME)


def race(
    problem: SeparableProblem,
    starts: Sequence[Tensor | None],
    /,
    *,
    seed: np.random.Generator,
    max_iterations: int,
    numbered: Numbered,
    max_time: float | None = None,
    **options: Any,
) -> Solution:
    """Train the start that is ahead after a while.

    Args:
        problem: of a collocation.
        starts: theta of each, None for the best of the random starts of `grassvp.solve`.
        seed: of those.
        max_iterations: of the winner.
        numbered: callbacks, which see the iterations of all runs numbered through.
        max_time: seconds of all runs.
        **options: of `grassvp.solve`.

    Returns:
        The winner, with its history; the time is that of all. An interrupt ends the race with the best so far.
    """
    begin, runs = time.perf_counter(), []

    def run(problem: SeparableProblem, start: Tensor | None, iterations: int) -> Solution:
        rest = None if max_time is None else max(max_time - (time.perf_counter() - begin), 0.0)
        limits: dict[str, Any] = {"max_iterations": iterations, "max_time": rest, "callbacks": numbered.next_run()}
        return solve(problem, initial_parameters=start, seed=seed, **limits, **options)

    if len(starts) == 1:
        return run(problem, starts[0], max_iterations)
    trial = min(TRIAL, max_iterations)
    for start in starts:
        runs.append(run(problem, start, trial))
        if runs[-1].status in ENDED:
            break
    best = min(runs, key=_value)
    left = max_iterations - best.iterations
    if runs[-1].status in ENDED:  # of the race, whichever run is ahead
        return replace(joined([best], time.perf_counter() - begin), status=runs[-1].status)
    if best.iterations < trial or left == 0:  # it ended by itself; CONVERGED may be said at a limit too
        return joined([best], time.perf_counter() - begin)
    origin: Any = problem.origin
    return joined([best, run(origin.continued(best), best.parameters, left)], time.perf_counter() - begin)


def _value(run: Solution) -> float:
    """By which runs are compared."""
    return run.value if math.isfinite(run.value) else math.inf

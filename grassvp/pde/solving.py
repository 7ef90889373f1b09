"""Solving an equation in rounds: between them the points are drawn anew, or moved to where the residual is large.

In high dimension the points of one round are too few to see everywhere, and a network learns to satisfy the equation
at them alone: the value falls on while the error stays. New points in each round, from where the last one ended, do not
let it. Sharp layers need the opposite, points where the residual is.

Source: C. Wu, M. Zhu, Q. Tan, Y. Kartha, L. Lu 2023 for the density |r| / mean |r| + 1 of the points.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from grassvp.arrays import check_choice, check_count
from grassvp.callbacks import check_callbacks
from grassvp.pde.collocation import Collocation
from grassvp.pde.sampling import GRIDS, interior_points
from grassvp.pde.starts import STARTS, trained_start
from grassvp.solvers import IterationRecord, Solution, Status
from grassvp.solving import generator, solve

__all__ = ["RESAMPLINGS", "Numbered", "joined", "solve_in_rounds"]

RESAMPLINGS = ("fresh", "residual")
POOL = 10  # candidates for each point that is placed by the residual
ENDED = (Status.INTERRUPTED, Status.STOPPED, Status.MAX_TIME, Status.NON_FINITE)


def solve_in_rounds(
    collocation: Collocation,
    *,
    boundary: int,
    sampling: str,
    rounds: int = 1,
    resampling: str = "fresh",
    seed: Any = None,
    max_iterations: int = 500,
    max_time: float | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Solution:
    """Solve on the points of a collocation, and then `rounds` - 1 times on others, each from where the last one ended.

    Args:
        collocation: the first round.
        boundary: rows of the conditions.
        sampling: of fresh points; grids would be the same again and are replaced by a Sobol set.
        rounds: how many. With several, the starts are those of `pde.starts`, drawn for many dimensions.
        resampling: "fresh" points, or "residual", drawn from a pool with a density that grows with the residual.
        seed: of the starts and of the points.
        max_iterations: of each round.
        max_time: seconds of all rounds.
        callbacks: of `grassvp.solve`; records are numbered through.
        **options: of `grassvp.solve`.

    Returns:
        The `Solution` of the last round, with the history of all of them, in which "round" says which one a record is
        of: values of different rounds are of different points.
    """
    check_count(rounds, "rounds")
    check_choice(resampling, "resampling", RESAMPLINGS)
    begin, rng = time.perf_counter(), generator(seed)
    sampling = "sobol" if sampling in GRIDS else sampling
    problem, solutions, numbered = collocation.problem(), [], Numbered(callbacks)
    if rounds > 1 and options.get("initial_parameters") is None and problem.features.can_sample:
        fresh, count = _redrawn(collocation, boundary, sampling, rng), options.pop("starts", len(STARTS))
        start = trained_start(collocation, fresh, rng, count, max_time=max_time, **options)
        if start.status in (Status.INTERRUPTED, Status.STOPPED):
            return joined([start], time.perf_counter() - begin)
        options, problem = {**options, "initial_parameters": start.parameters}, collocation.continued(start)
    for _ in range(rounds):
        if solutions:
            collocation = _moved(collocation, solutions[-1], boundary, sampling, resampling, rng)
            problem = collocation.continued(solutions[-1])
            options = {**options, "initial_parameters": solutions[-1].parameters, "initialization": "auto"}
        left = None if max_time is None else max(max_time - (time.perf_counter() - begin), 0.0)
        shown = numbered.next_run()
        solution = solve(problem, seed=rng, max_iterations=max_iterations, max_time=left, callbacks=shown, **options)
        solutions.append(solution)
        if solution.status in ENDED:
            break
    return joined(solutions, time.perf_counter() - begin)


def _redrawn(collocation: Collocation, boundary: int, sampling: str, rng: np.random.Generator) -> Collocation:
    """The collocation at fresh points."""
    equations, count = collocation.equations, len(collocation.interior)
    places = equations.places(boundary, sampling, rng)
    return collocation.at(interior_points(equations.box, count, sampling, rng), places)


def _moved(
    collocation: Collocation,
    solution: Solution,
    boundary: int,
    sampling: str,
    resampling: str,
    rng: np.random.Generator,
) -> Collocation:
    """The collocation of the next round."""
    if resampling == "fresh":
        return _redrawn(collocation, boundary, sampling, rng)
    places, count = collocation.equations.places(boundary, sampling, rng), len(collocation.interior)
    pool = interior_points(collocation.equations.box, POOL * count, "random", rng)
    size = _residual_size(collocation.at(pool, ()), solution)
    mean = size.mean()
    density = size / mean + 1.0 if 0 < mean < np.inf else np.ones(len(size))
    chosen = rng.choice(len(pool), count, replace=False, p=density / density.sum())
    return collocation.at(pool[torch.from_numpy(chosen)], places)


def _residual_size(collocation: Collocation, solution: Solution) -> np.ndarray:
    """Root of the sum of squares of the equations' residuals at each interior point."""
    look_up = collocation.field(collocation.interior, solution.parameters, solution.coefficients)
    equations, total = collocation.equations, torch.zeros(len(collocation.interior), dtype=torch.float64)
    if equations.coefficients:
        equations = equations.at(solution.parameters[-len(equations.coefficients) :])
    for block in equations.interior_blocks(collocation.interior, None if equations.linear else look_up):
        applied = sum(c * look_up(*key) for key, c in block.terms.items())
        total += (applied - block.targets) ** 2
    return np.sqrt(total.numpy())


class Numbered:
    """Callbacks that see the records of several runs, one after the other, numbered through."""

    def __init__(self, callbacks: Any) -> None:
        self._callbacks, self._last, self._later = check_callbacks(callbacks), 0, False

    def next_run(self) -> list[Any]:
        """The callbacks of the next run; what a later one starts from is known already and not shown."""
        before, later, self._later = self._last, self._later, True

        def shown(callback: Any) -> Any:
            def show(record: IterationRecord) -> Any:
                if later and record.iteration == 0:
                    return False
                self._last = before + record.iteration
                return callback(replace(record, iteration=self._last))

            return show

        return [shown(callback) for callback in self._callbacks]


def joined(solutions: list[Solution], elapsed: float) -> Solution:
    """The last solution with the history of all."""
    counts = [len(each.history["iteration"]) for each in solutions]
    history = {name: np.concatenate([each.history[name] for each in solutions]) for name in solutions[-1].history}
    before = np.cumsum([0, *(each.iterations for each in solutions[:-1])])
    passed = np.cumsum([0.0, *(each.elapsed for each in solutions[:-1])])
    history["iteration"] = history["iteration"] + np.repeat(before, counts)
    history["seconds"] = history["seconds"] + np.repeat(passed, counts)
    history["round"] = np.repeat(np.arange(len(solutions)), counts)
    iterations = sum(each.iterations for each in solutions)
    return replace(solutions[-1], history=history, iterations=iterations, elapsed=elapsed)

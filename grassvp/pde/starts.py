"""Starts for many dimensions: weak slopes, with kinks inside the box or biases spread around it.

Random features of the slopes that least squares likes best are ill-conditioned in many dimensions, and those of steeper
slopes are far from the solution: which of them trains best is seen after a few iterations only. Each start is trained
for a few, and judged by the residual at points that it was not fitted to, never by an exact solution.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_count
from grassvp.pde.collocation import Collocation
from grassvp.pde.measures import residuals
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution, Status
from grassvp.solving import solve

__all__ = ["STARTS", "Start", "left_at", "trained_start"]

TRIAL = 10  # iterations that a start is given before it is judged
ENDED = (Status.INTERRUPTED, Status.STOPPED, Status.MAX_TIME)


@dataclass(frozen=True)
class Start:
    """How weights and biases are drawn.

    Attributes:
        slope: of the weights per half-range of the inputs.
        spread: whether the neurons' centres are drawn from a box 1 / slope times as large, so that at weak slopes too
            the neurons are at all phases of the activation; in the box itself all would be nearly linear.
    """

    slope: float
    spread: bool

    def parameters(self, problem: SeparableProblem, rng: np.random.Generator) -> Tensor:
        """Theta of a draw."""
        low, high = problem.inputs.amin(0), problem.inputs.amax(0)
        if not self.spread:
            return problem.features.sample(rng, torch.stack([low, high]), self.slope)
        middle, half = (low + high) / 2, (high - low) / 2 / self.slope
        return problem.features.sample(rng, torch.stack([middle - half, middle + half]), 1.0)


STARTS = (Start(0.1, True), Start(0.3, True), Start(0.3, False), Start(1.0, False))


def trained_start(
    collocation: Collocation, fresh: Collocation, rng: np.random.Generator, count: int, **options: Any
) -> Solution:
    """The best of up to `count` starts after a few iterations; its status tells where the last one was interrupted.

    Args:
        collocation: what is solved.
        fresh: the same at other points.
        rng: of the draws.
        count: how many starts; the first ones of `STARTS`.
        **options: of `grassvp.solve`; max_time is for all of them.
    """
    begin, limit = time.perf_counter(), options.pop("max_time", None)
    problem, tried = collocation.problem(), []
    for start in STARTS[: check_count(count, "starts")]:
        left = None if limit is None else max(limit - (time.perf_counter() - begin), 0.0)
        theta = start.parameters(problem, rng)
        tried.append(solve(problem, initial_parameters=theta, max_iterations=TRIAL, max_time=left, **options))
        if tried[-1].status in ENDED:
            break
    best = min(tried, key=lambda solution: left_at(solution, fresh))
    return replace(best, status=tried[-1].status) if tried[-1].status in ENDED else best


def left_at(solution: Solution, fresh: Collocation) -> float:
    """The relative residual of a solution at other points, infinite where it is not finite."""
    if not math.isfinite(solution.value):
        return math.inf
    left = residuals(solution, fresh).relative
    return left if math.isfinite(left) else math.inf

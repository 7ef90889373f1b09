"""Starts for many dimensions: weak slopes, with kinks inside the box or biases spread around it.

Random features of the slopes that least squares likes best are ill-conditioned in many dimensions, and those of steeper
slopes are far from the solution: which of them trains best is seen after a few iterations only. Each start is trained
for a few, and judged by the residual at points that it was not fitted to, never by an exact solution.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.pde.measures import relative_residual
from grassvp.separable import SeparableProblem
from grassvp.solvers import Status
from grassvp.solving import solve

__all__ = ["STARTS", "Start", "trained_start"]

TRIAL = 10  # iterations that a start is given before it is judged


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
    problem: SeparableProblem, fresh: SeparableProblem, rng: np.random.Generator, count: int, **options: Any
) -> Tensor | None:
    """Theta of the best of up to `count` starts after a few iterations, None where none is finite.

    Args:
        problem: what is solved.
        fresh: the same at other points.
        rng: of the draws.
        count: how many starts; the first ones of `STARTS`.
        **options: of `grassvp.solve`.
    """
    best, least = None, np.inf
    for start in STARTS[:count]:
        theta = start.parameters(problem, rng)
        tried = solve(problem, initial_parameters=theta, max_iterations=TRIAL, **options)
        if tried.status is Status.NON_FINITE:
            continue
        left = relative_residual(fresh, tried.parameters, tried.coefficients)
        if left < least:
            best, least = tried.parameters, left
        if tried.status in (Status.INTERRUPTED, Status.MAX_TIME):
            break
    return best

"""A network that grows until it is good enough: greedy growth as a way to choose the width."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative, safe_norm
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import Method, Solution
from grassvp.solving import generator, solve
from grassvp.starts import Growth, can_grow, grow_widths, narrowed

__all__ = ["Grown", "grow"]


@dataclass(frozen=True, eq=False)
class Grown:
    """What a network grew to.

    Attributes:
        problem: the problem with the width that was reached.
        solution: its solution.
        residuals: ||r|| / ||W Y|| at width 1, 2, ... while it grew, before the last solve.
        reached: whether the solution is as good as was asked for.
    """

    problem: SeparableProblem
    solution: Solution
    residuals: np.ndarray
    reached: bool

    @property
    def width(self) -> int:
        """Neurons."""
        return len(self.residuals)

    def __repr__(self) -> str:
        """Width and residual."""
        return f"Grown(width {self.width}, goal {'reached' if self.reached else 'not reached'}, {self.solution!r})"


def grow(
    problem: SeparableProblem,
    solver: Method | None = None,
    *,
    goal: float = 1e-6,
    seed: int | np.random.Generator | None = None,
    pool: int = 1000,
    every: int = 2,
    steps: int = 8,
    **options: Any,
) -> Grown:
    """Add neurons one by one until ||r|| <= goal ||W Y||, at most as many as the problem's features have; then solve.

    Each neuron is the one of `pool` random candidates that lowers the projected residual most; after every `every`
    neurons all of them are polished by `steps` Levenberg-Marquardt iterations, and the network that has grown is solved
    from there.

    Args:
        problem: a problem whose features are an `mlp` with one hidden layer of the largest width allowed.
        solver: of the last solve, as for `solve`.
        goal: relative residual at which growth ends.
        seed: of the candidates.
        pool: candidates for each neuron.
        every: neurons between two polishings.
        steps: iterations of a polishing.
        **options: of the last `solve`: `max_iterations`, `max_time`, `tolerance`, `callbacks`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    if not can_grow(problem):
        raise ArgumentError("problem: only an mlp with one hidden layer and without bounds can grow")
    for name, value in (("pool", pool), ("every", every), ("steps", steps)):
        check_count(value, name)
    threshold = check_nonnegative(goal, "goal") * safe_norm(problem.weighted_targets)
    residuals: list[float] = []
    for count, theta in enumerate(grow_widths(problem, generator(seed), Growth(pool, every, steps)), start=1):
        grown = narrowed(problem, count)
        residuals.append(float(np.sqrt(2.0 * ReducedProblem(grown).value(theta))))
        if residuals[-1] <= threshold:
            break
    solution = solve(grown, solver, initial_parameters=theta, **options)  # pyright: ignore[reportPossiblyUnboundVariable]
    size = safe_norm(problem.weighted_targets) or 1.0
    reached = bool(np.sqrt(2.0 * solution.value) <= threshold)
    return Grown(grown, solution, np.array(residuals) / size, reached)  # pyright: ignore[reportPossiblyUnboundVariable]

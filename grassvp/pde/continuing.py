"""Continuation: nonlinear equations solved for one value of a parameter after the other, each from the last solution.

Newton's method is fast near a solution and may find none from afar. A viscosity that falls, a Reynolds number that
grows or a time box that is extended leads there through problems whose solutions are close to each other.

Source: E. Allgower, K. Georg, Introduction to Numerical Continuation Methods, 2003.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative, safe_norm
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.problem import PDE
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution
from grassvp.solving import generator, solve

__all__ = ["Continued", "relative_residual", "solve_continued"]


@dataclass(frozen=True, eq=False)
class Continued:
    """Solutions along a path of parameter values.

    Attributes:
        values: that were solved for and met the goal, in order; bisection puts further ones between the given ones.
        solutions: for each of them.
        reached: whether the last value is the last that was asked for.
        failed: values whose solution did not meet the goal, each of which made the step to it shorter.
    """

    values: tuple[float, ...]
    solutions: tuple[Solution, ...]
    reached: bool
    failed: tuple[float, ...] = ()

    @property
    def solution(self) -> Solution:
        """The last one."""
        return self.solutions[-1]

    def __repr__(self) -> str:
        """The path and how it ended."""
        path = ", ".join(f"{value:g}" for value in self.values)
        return f"Continued({path}; {'reached' if self.reached else 'not reached'}, {self.solution!r})"


def solve_continued(
    family: Callable[[float], PDE],
    values: Sequence[float],
    features: Any,
    *,
    interior: Any,
    boundary: int,
    sampling: str = "grid",
    goal: float = 1e-2,
    bisections: int = 4,
    seed: int | np.random.Generator | None = 0,
    **options: Any,
) -> Continued:
    """Solve family(value) for one value after the other, each from the network and the field of the one before.

    Where a solution leaves more than `goal` of the equations and conditions, the step to its value is halved.

    Args:
        family: value -> PDE, such as the equation with this viscosity, or on a box up to this time.
        values: in the order they are solved for.
        features: as for `PDE.collocate`.
        interior: as for `PDE.collocate`; with points, family must keep the box.
        boundary: as for `PDE.collocate`.
        sampling: as for `PDE.collocate`.
        goal: relative residual ||W r|| / ||W Y|| of the nonlinear rows up to which a solution is one.
        bisections: how often a step may be halved; by the geometric mean of values of one sign.
        seed: of points and starts.
        options: of `grassvp.solve` for each value, such as max_iterations.

    Returns:
        The solutions; `reached` says whether the last value was. Where not even the first one is, it is there all
        the same, as `solutions[0]`.

    Raises:
        ArgumentError, ArgumentTypeError: naming what cannot be used.
    """
    targets = _checked(family, values)
    check_nonnegative(goal, "goal")
    check_count(bisections, "bisections", least=0)
    rng, points_seed = generator(seed), int(generator(seed).integers(2**31)) if seed is not None else 0

    def solved(value: float, before: Solution | None) -> Solution:
        problem = _member(family, value).collocate(
            features, interior=interior, boundary=boundary, sampling=sampling, seed=points_seed
        )
        given = {} if before is None else {"initial_parameters": before.parameters}
        return solve(continued(problem, before), seed=rng, **{**options, **given})

    first = solved(targets[0], None)
    done, solutions, failed = [targets[0]], [first], []
    if relative_residual(first) > goal:
        return Continued((targets[0],), (first,), False, (targets[0],))
    waiting, halved = targets[1:], 0
    while waiting:
        solution = solved(waiting[0], solutions[-1])
        if relative_residual(solution) <= goal:
            done.append(waiting.pop(0))
            solutions.append(solution)
            halved = max(halved - 1, 0)
            continue
        failed.append(waiting[0])
        if halved == bisections:
            break
        waiting.insert(0, between(done[-1], waiting[0]))
        halved += 1
    return Continued(tuple(done), tuple(solutions), not waiting, tuple(failed))


def continued(problem: SeparableProblem, before: Solution | None) -> SeparableProblem:
    """The problem linearised at the field of a solution of a like one; as it is without one, or where it is linear."""
    return problem if before is None else problem.origin.continued(before)


def relative_residual(solution: Solution) -> float:
    """||W r|| / ||W Y|| of the rows that were solved, the nonlinear ones where there are; NaN counts as inf."""
    problem = solution.problem
    left = math.sqrt(2.0 * solution.value) if problem.linearized is None else problem.linearized.residual
    size = safe_norm(problem.weighted_targets)
    relative = left / size if size > 0 else left
    return relative if math.isfinite(relative) and math.isfinite(solution.value) else math.inf


def between(low: float, high: float) -> float:
    """The geometric mean of values of one sign, the mean of others."""
    return math.copysign(math.sqrt(low * high), low) if low * high > 0 else (low + high) / 2


def _checked(family: Any, values: Any) -> list[float]:
    if not callable(family):
        raise ArgumentTypeError(f"family must be callable as family(value) -> PDE, got {family!r}")
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ArgumentError(f"values must be a sequence of finite numbers, got {values!r}")
    return array.tolist()


def _member(family: Callable[[float], PDE], value: float) -> PDE:
    pde = family(value)
    if not isinstance(pde, PDE):
        raise ArgumentTypeError(f"family must return a PDE, got {type(pde).__name__} for {value:g}")
    return pde

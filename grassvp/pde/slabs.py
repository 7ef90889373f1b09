"""Evolution equations in slabs of time, one space-time network after the other.

Over a long time a solution is a function of many shapes; over a short one it changes little, and a small network has it
to many digits. Each slab starts from what the one before ended with, and its network from that one moved on in time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_count, in_kind_of, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import MLP
from grassvp.pde.conditions import Condition, faces_of
from grassvp.pde.domain import Box
from grassvp.pde.problem import PDE
from grassvp.pde.racing import race
from grassvp.pde.solving import Numbered
from grassvp.solvers import Solution, Status
from grassvp.solving import generator

__all__ = ["Slabs", "solve_in_slabs"]

AFTER = 1e-9  # of all slabs by which a time may lie after them
ENDED = (Status.INTERRUPTED, Status.STOPPED, Status.NON_FINITE)


@dataclass(frozen=True, eq=False)
class Slabs:
    """A solution in slabs of time.

    Attributes:
        times: the ends of the slabs, ascending, one more than there are slabs; short of the end of the box where a
            solve was interrupted or failed.
        solutions: on each of them.
        column: of time in the points.
    """

    times: tuple[float, ...]
    solutions: tuple[Solution, ...]
    column: int

    @property
    def status(self) -> Status:
        """Why the solve of the last slab ended."""
        return self.solutions[-1].status

    @property
    def elapsed(self) -> float:
        """Seconds of all solves."""
        return sum(solution.elapsed for solution in self.solutions)

    def predict(self, inputs: Any) -> Any:
        """The solution at points (rows, d), (rows,) or (rows, unknowns); numpy or torch like `inputs`.

        Raises:
            ArgumentError: a time after the last slab.
        """
        points = to_tensor(inputs, "inputs", dtype=torch.float64)
        last = float(points[:, self.column].max()) if len(points) else self.times[0]
        if last > self.times[-1] + AFTER * (self.times[-1] - self.times[0]):
            raise ArgumentError(f"inputs must have times up to {self.times[-1]:g}, where the slabs end; got {last:g}")
        slab = torch.bucketize(points[:, self.column].contiguous(), torch.tensor(self.times[1:-1], dtype=torch.float64))
        parts = [(solution, (slab == k).nonzero()[:, 0]) for k, solution in enumerate(self.solutions)]
        known = [(rows, solution.predict(points[rows])) for solution, rows in parts if len(rows)]
        result = known[0][1].new_empty(len(points), *known[0][1].shape[1:])
        for rows, values in known:
            result[rows] = values
        return in_kind_of(inputs)(result)

    def __repr__(self) -> str:
        """How many, and the worst of them."""
        worst = max(self.solutions, key=lambda solution: solution.value)
        return f"Slabs({len(self.solutions)} up to {self.times[-1]:g}, {self.elapsed:.2g} s, worst {worst!r})"


def solve_in_slabs(
    pde: PDE,
    times: int | Sequence[float],
    features: Any,
    *,
    interior: Any,
    boundary: int,
    axis: str = "t",
    sampling: str = "grid",
    candidates: int = 1,
    draw: Callable[[np.random.Generator, float, float], Any] | None = None,
    initial_parameters: Any = None,
    seed: int | np.random.Generator | None = 0,
    max_iterations: int = 500,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Slabs:
    """Solve an equation of first order in time slab by slab.

    The conditions on the lower face of time prescribe the value of every unknown; in a later slab what the one before
    ended with takes their place. The first slab starts from `initial_parameters`, a later one, where its network is an
    `mlp`, from the network of the one before, moved on in time by the length of the slab. With several candidates these
    race against fresh starts (`pde.racing`): a network that is passed on through many slabs wears out, and the next
    valley it gets into may be a long one. A solve that is interrupted, stopped or fails ends the slabs with its own.

    Args:
        pde: on the whole box.
        times: how many slabs of one length, or their ends, ascending, from the first to the last time of the box.
        features: of each slab, as for `PDE.collocate`.
        interior: points in each slab: how many, or their places (rows, d) in the whole box, whose times are scaled to
            those of each slab.
        boundary: rows of the conditions of each slab.
        axis: name of time.
        sampling: of the points.
        candidates: starts on each slab; one is where it goes on from, the others are fresh.
        draw: theta of a fresh start from a generator and the ends of the slab; None for those of `grassvp.solve`.
        initial_parameters: theta in the first slab; None for a fresh start.
        seed: of points and starts.
        max_iterations: of each slab.
        callbacks: of `grassvp.solve`; records are numbered through.
        options: of `grassvp.solve` for each slab.

    Raises:
        ArgumentError, ArgumentTypeError: naming what cannot be used.
    """
    check_count(candidates, "candidates")
    if draw is not None and not callable(draw):
        raise ArgumentTypeError(f"draw must be a function of a generator and two times, got {type(draw).__name__}")
    box, rng = pde.domain, generator(seed)
    column = box.index(axis, "axis")
    ends = _ends(box, column, times)
    _check_initial(pde, axis)
    solutions: list[Solution] = []
    numbered, start = Numbered(callbacks), initial_parameters
    for k, (begin, end) in enumerate(pairwise(ends)):
        slab = _slab(pde, axis, (begin, end), solutions[-1] if solutions else None)
        points = interior if np.ndim(interior) == 0 else _moved(box, interior, column, (begin, end))
        problem = slab.collocate(
            features, interior=points, boundary=boundary, sampling=sampling, seed=int(rng.integers(2**31))
        )
        if solutions:
            seen = column if pde.equations.embedding is None else pde.equations.embedding.column(column)
            start = _shifted(features, solutions[-1].parameters, seen, ends[k - 1 : k + 2])
        starts = [] if start is None else [start]
        starts += [None if draw is None else draw(rng, begin, end) for _ in range(candidates - len(starts))]
        limits: dict[str, Any] = {"max_iterations": max_iterations, "numbered": numbered}
        solutions.append(race(problem, starts, seed=rng, **limits, **options))
        if solutions[-1].status in ENDED:
            break
    return Slabs(tuple(ends[: len(solutions) + 1]), tuple(solutions), column)


def _ends(box: Box, column: int, times: Any) -> list[float]:
    low, high = float(box.lower[column]), float(box.upper[column])
    if np.ndim(times) == 0:
        if not isinstance(times, int) or isinstance(times, bool) or times < 1:
            raise ArgumentError(f"times must be a number of slabs >= 1 or their ends, got {times!r}")
        return [low + (high - low) * k / times for k in range(times)] + [high]
    ends = [float(time) for time in times]
    ascending = all(earlier < later for earlier, later in pairwise(ends))
    if len(ends) < 2 or not ascending or not (math.isclose(ends[0], low) and math.isclose(ends[-1], high)):
        raise ArgumentError(f"times must ascend from {low:g} to {high:g}, the times of the box, got {times!r}")
    return [low, *ends[1:-1], high]


def _check_initial(pde: PDE, axis: str) -> None:
    """Raise unless the lower face of time has the value of every unknown, and nothing else."""
    if pde.equations.coefficients:
        raise ArgumentError(f"pde has unknown coefficients {tuple(pde.equations.coefficients)}: slabs need known ones")
    names = pde.equations.unknowns or (None,)
    there = [each for each in pde.equations.conditions if _initial(each, axis, pde.domain)]
    start = ((axis, "lower"),)
    known = [
        each.of or names[0]
        for each in there
        if isinstance(each, Condition) and each.operator is None and faces_of(each.on, pde.domain) == start
    ]
    if len(there) != len(known) or sorted(map(str, known)) != sorted(map(str, names)):
        raise ArgumentError(
            f"conditions: slabs need one on ({axis!r}, 'lower') alone for the value of every unknown, got {there}"
        )


def _initial(condition: Any, axis: str, box: Box) -> bool:
    return isinstance(condition, Condition) and (axis, "lower") in faces_of(condition.on, box)


def _slab(pde: PDE, axis: str, ends: Sequence[float], before: Solution | None) -> PDE:
    """The equation on a slab, with what the last one ended with as its initial values."""
    old, equations = pde.domain, pde.equations
    intervals = {name: (float(old.lower[i]), float(old.upper[i])) for i, name in enumerate(old.names)}
    box = Box({**intervals, axis: tuple(ends)})
    conditions = equations.conditions
    if before is not None:
        ended = [
            replace(each, equals=_ended(before, box, equations.unknowns, each.of), exact=False)
            for each in conditions
            if isinstance(each, Condition) and _initial(each, axis, old)
        ]
        conditions = (*(each for each in conditions if not _initial(each, axis, old)), *ended)
    return PDE(
        box,
        equations.equation,
        equations.source,
        conditions,
        linear=equations.linear,
        unknowns=equations.unknowns,
        weight=equations.weight,
        guess=equations.guess,
    )


def _ended(before: Solution, box: Box, unknowns: tuple[str, ...], name: str | None) -> Any:
    """The values of an unknown in a solution, as a function of the coordinates."""
    column = unknowns.index(name) if name is not None else 0

    def values(x: dict[str, Tensor]) -> Tensor:
        u = before.predict(torch.stack([x[each] for each in box.names], 1))
        return u if u.ndim == 1 else u[:, column]

    return values


def _moved(box: Box, interior: Any, column: int, ends: Sequence[float]) -> Tensor:
    """Points of the whole box with their times scaled to a slab."""
    points = box.check_points(interior, "interior").clone()
    unit = (points[:, column] - box.lower[column]) / box.lengths[column]
    points[:, column] = (ends[0] + unit * (ends[1] - ends[0])).clamp(*ends)
    return points


def _shifted(features: Any, parameters: Tensor, column: int, ends: Sequence[float]) -> Tensor | None:
    """Theta of the network moved on in time to the next slab; None where it is no mlp.

    The first layer W x + b becomes W x' + b with x' as far into the old slab as x is into the new one.
    """
    if not isinstance(features, MLP):
        return None
    (width, d), (old, now, new) = features.shapes[0], ends
    if parameters.numel() != sum(each.numel() for each in features.parameters()):
        return None
    theta, rate = parameters.clone(), (now - old) / (new - now)
    W, b = theta[: width * d].view(width, d), theta[width * d : width * (d + 1)]
    b += W[:, column] * (old - rate * now)
    W[:, column] *= rate
    return theta

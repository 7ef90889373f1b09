"""Evolution equations in slabs of time, one space-time network after the other.

Over a long time a solution is a function of many shapes; over a short one it changes little, and a small network has it
to many digits. Each slab starts from what the one before ended with, and its network from that one moved on in time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import in_kind_of, to_tensor
from grassvp.errors import ArgumentError
from grassvp.features import MLP
from grassvp.pde.conditions import Condition, faces_of
from grassvp.pde.domain import Box
from grassvp.pde.problem import PDE
from grassvp.solvers import Solution
from grassvp.solving import generator, solve

__all__ = ["Slabs", "solve_in_slabs"]


@dataclass(frozen=True, eq=False)
class Slabs:
    """A solution in slabs of time.

    Attributes:
        times: the ends of the slabs, ascending, one more than there are slabs.
        solutions: on each of them.
        column: of time in the points.
    """

    times: tuple[float, ...]
    solutions: tuple[Solution, ...]
    column: int

    @property
    def elapsed(self) -> float:
        """Seconds of all solves."""
        return sum(solution.elapsed for solution in self.solutions)

    def predict(self, inputs: Any) -> Any:
        """The solution at points (rows, d), (rows,) or (rows, unknowns); numpy or torch like `inputs`."""
        points = to_tensor(inputs, "inputs", dtype=torch.float64)
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
    seed: int | np.random.Generator | None = 0,
    **options: Any,
) -> Slabs:
    """Solve an equation of first order in time slab by slab.

    The conditions on the lower face of time prescribe the value of every unknown; in a later slab what the one before
    ended with takes their place. The first slab starts from the best of several starts. The network of a later one,
    where it is an `mlp`, starts as that of the one before, moved on in time by the length of the slab.

    Args:
        pde: on the whole box.
        times: how many slabs of one length, or their ends, ascending, from the first to the last time of the box.
        features: of each slab, as for `PDE.collocate`.
        interior: points in each slab: how many, or their places (rows, d) in the whole box, whose times are scaled to
            those of each slab.
        boundary: rows of the conditions of each slab.
        axis: name of time.
        sampling: of the points.
        seed: of points and starts.
        options: of `grassvp.solve` for each slab.

    Raises:
        ArgumentError, ArgumentTypeError: naming what cannot be used.
    """
    box, rng = pde.domain, generator(seed)
    column = box.index(axis, "axis")
    ends = _ends(box, column, times)
    _check_initial(pde, axis)
    solutions: list[Solution] = []
    for k in range(len(ends) - 1):
        slab = _slab(pde, axis, ends[k : k + 2], solutions[-1] if solutions else None)
        points = interior if np.ndim(interior) == 0 else _moved(box, interior, column, ends[k : k + 2])
        problem = slab.collocate(
            features, interior=points, boundary=boundary, sampling=sampling, seed=int(rng.integers(2**31))
        )
        seen = column if pde.equations.embedding is None else pde.equations.embedding.column(column)
        start = _shifted(features, solutions[-1].parameters, seen, ends[k - 1 : k + 2]) if solutions else None
        given = {} if start is None else {"initial_parameters": start}
        solutions.append(solve(problem, seed=rng, **{**options, **given}))
    return Slabs(tuple(ends), tuple(solutions), column)


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

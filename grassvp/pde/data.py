"""Measurements of the unknown: rows beside those of the equation, and how much either counts.

Data rows are divided by their noise, so that each has unit variance. The equation and the conditions hold exactly in
principle, so that each of their blocks counts `dominance` times as much as all data together, in the measure by which
blocks are balanced: a solution that follows the noise by disobeying the equation then pays dominance^2 times what it
gains, and estimates are those of maximum likelihood under the equation as a constraint.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.assembly import Block, balanced_weights
from grassvp.pde.binding import bind
from grassvp.pde.domain import Box
from grassvp.pde.operators import Local, linear_terms

__all__ = ["DOMINANCE", "Data", "DataBlock", "check_data", "data_blocks", "weights_beside_data"]

DOMINANCE = 1e3  # of each block of the equation and the conditions over all data together


@dataclass(frozen=True, eq=False)
class Data:
    """Measured values of u, or of an operator on it, at points of the box.

    Attributes:
        points: (rows, d), in the order of the box' coordinates.
        values: (rows,).
        noise: standard deviation > 0 of the values' independent errors, one for all or (rows,). None: the same for all
            and not known, estimated from what the fit leaves of the data.
        operator: a function (u, x) linear in u, of u.value, u.d("x") and so on, that the values are of; (u, x, p) where
            it depends on unknown coefficients. None for u itself.
        of: which unknown of a system the values are of, where operator is None.
    """

    points: Any
    values: Any
    noise: Any = None
    operator: Callable[..., Any] | None = None
    of: str | None = None

    def __post_init__(self) -> None:
        """Check what can be seen without a box, and keep tensors."""
        values = to_tensor(self.values, "values", dtype=torch.float64).cpu()
        if values.ndim != 1:
            raise ArgumentError(f"values must have shape (rows,), got {tuple(values.shape)}")
        points = to_tensor(self.points, "points", dtype=torch.float64).cpu()
        if len(points) != len(values):
            raise ArgumentError(f"points must have a row for each of {len(values)} values, got {tuple(points.shape)}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "points", points)
        if self.noise is not None:
            object.__setattr__(self, "noise", _checked_noise(self.noise, len(values)))
        if self.operator is not None and not callable(self.operator):
            raise ArgumentTypeError(f"operator must be callable as operator(u, x), got {self.operator!r}")
        if self.operator is not None and self.of is not None:
            raise ArgumentError("of names the unknown that the values are of: leave it out beside an operator")

    @property
    def deviations(self) -> Tensor:
        """(rows,) standard deviations, ones where they are not known."""
        return torch.ones_like(self.values) if self.noise is None else self.noise

    def bound(self, names: tuple[str, ...], coefficients: Tensor, traced: bool) -> "Data":
        """The same where unknown coefficients of the operator are known."""
        operator = bind(self.operator, 2, names, coefficients, traced=traced)
        return self if operator is self.operator else replace(self, operator=operator)

    def __repr__(self) -> str:
        """How many values of what."""
        kind = "u" if self.operator is None else "operator(u, x)"
        return f"Data({len(self.values)} values of {kind}, noise {'unknown' if self.noise is None else 'given'})"


@dataclass(frozen=True, eq=False)
class DataBlock(Block):
    """Rows of measurements.

    Attributes:
        deviations: (rows,) standard deviations of the targets.
    """

    deviations: Tensor = field(default_factory=lambda: torch.ones(()))


def check_data(data: Any, box: Box) -> tuple[Data, ...]:
    """The sets of data as a tuple, with their points in the box.

    Raises:
        ArgumentError, ArgumentTypeError: something else than data, points outside of the box or of another shape, or
            noise that is known for some sets and not for others.
    """
    given = (data,) if isinstance(data, Data) else () if data is None else data
    if not isinstance(given, Sequence) or not all(isinstance(each, Data) for each in given):
        raise ArgumentTypeError(f"data must be a pde.Data or several, got {data!r}")
    if len({each.noise is None for each in given}) > 1:
        raise ArgumentError("data: noise must be given for all sets of data, or for none of them")
    return tuple(replace(each, points=box.check_points(each.points, "points of data")) for each in given)


def data_blocks(data: Sequence[Data], box: Box, unknowns: tuple[str, ...]) -> list[Block]:
    """A block for each set of data."""
    blocks: list[Block] = []
    for number, each in enumerate(data):
        name = "data" if len(data) == 1 else f"data {number + 1} of {len(data)}"
        if each.operator is None:
            terms = {(_unknown(each, unknowns), ()): torch.ones_like(each.values)}
        else:
            found = linear_terms(Local(each.operator, box, each.points, unknowns, f"operator of {name}"))
            if len(found) != 1:
                raise ArgumentError(f"operator of {name} must return one tensor, got {len(found)}")
            terms = found[0]
        blocks.append(DataBlock(name, each.points, terms, each.values, deviations=each.deviations))
    return blocks


def weights_beside_data(blocks: Sequence[Block], box: Box, dominance: float) -> Tensor:
    """(rows,) weights: 1 / noise for data, and for the other blocks their balance times what makes them dominate."""
    certain = [block for block in blocks if not isinstance(block, DataBlock)]
    precision = sum(float((block.deviations**-2).sum()) for block in blocks if isinstance(block, DataBlock))
    rows = sum(block.rows for block in certain)
    scale = dominance * math.sqrt(precision / rows)
    balanced = iter((scale * balanced_weights(certain, box)).split([block.rows for block in certain]))
    return torch.cat([1.0 / b.deviations if isinstance(b, DataBlock) else next(balanced) for b in blocks])


def _unknown(data: Data, unknowns: tuple[str, ...]) -> int:
    if data.of is None and len(unknowns) <= 1:
        return 0
    if data.of not in unknowns:
        raise ArgumentError(f"{data!r}: of must name one of the unknowns {unknowns}, got {data.of!r}")
    return unknowns.index(data.of)


def _checked_noise(noise: Any, rows: int) -> Tensor:
    deviations = to_tensor(noise, "noise", dtype=torch.float64).cpu()
    if deviations.ndim > 0 and tuple(deviations.shape) != (rows,):
        raise ArgumentError(f"noise must be a number or have shape ({rows},), got {tuple(deviations.shape)}")
    if not bool((deviations > 0).all()):
        raise ArgumentError(f"noise must be > 0, got {float(deviations.min())}: it is the standard deviation of values")
    return deviations.expand(rows)

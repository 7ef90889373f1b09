"""Boxes: the domains of partial differential equations, with named coordinates."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["Box", "Face"]

SIDES = ("lower", "upper")
OUTSIDE = 1e-12  # of an axis' length by which a point may lie outside of the box

Face = tuple[str, str]
"""(coordinate, "lower" or "upper")."""


class Box:
    """The product of intervals, one for each named coordinate; time is a coordinate like any other.

    Attributes:
        names: of the coordinates, in the order of the columns of points (rows, d).
        lower: (d,) lower ends, float64.
        upper: (d,) upper ends.
    """

    names: tuple[str, ...]
    lower: Tensor
    upper: Tensor

    def __init__(self, axes: Mapping[str, Any]) -> None:
        """Check the intervals.

        Args:
            axes: maps the name of each coordinate to its interval (lower, upper), as in {"t": (0, 1), "x": (-1, 1)}.

        Raises:
            ArgumentError, ArgumentTypeError: naming the interval that cannot be used.
        """
        if not isinstance(axes, Mapping) or not axes:
            raise ArgumentTypeError(f'axes must map names to intervals, such as {{"x": (0, 1)}}, got {axes!r}')
        intervals = []
        for name, interval in axes.items():
            if not isinstance(name, str) or not name:
                raise ArgumentTypeError(f"axes: a coordinate needs a name, got {name!r}")
            ends = to_tensor(interval, f"axes[{name!r}]", dtype=torch.float64).cpu()
            if ends.shape != (2,) or not ends[0] < ends[1]:
                raise ArgumentError(f"axes[{name!r}] must be (lower, upper) with lower < upper, got {interval!r}")
            intervals.append(ends)
        self.names = tuple(axes)
        self.lower, self.upper = torch.stack(intervals, 1)

    @property
    def dimension(self) -> int:
        """Number of coordinates d."""
        return len(self.names)

    @property
    def lengths(self) -> Tensor:
        """(d,) lengths of the intervals."""
        return self.upper - self.lower

    @property
    def faces(self) -> tuple[Face, ...]:
        """All 2 d faces, coordinate by coordinate."""
        return tuple(product(self.names, SIDES))

    def index(self, name: Any, where: str) -> int:
        """Column of a coordinate, or an ArgumentError that says where an unknown one was asked for."""
        if name not in self.names:
            raise ArgumentError(f"{where}: {name!r} is no coordinate of the box, which has {', '.join(self.names)}")
        return self.names.index(name)

    def end(self, face: Face) -> float:
        """Value of the coordinate on a face."""
        ends = self.lower if face[1] == "lower" else self.upper
        return float(ends[self.names.index(face[0])])

    def columns(self, points: Tensor) -> dict[str, Tensor]:
        """The coordinates of points (rows, d) by name, (rows,) each."""
        return dict(zip(self.names, points.unbind(1), strict=True))

    def scaled(self, unit: Tensor) -> Tensor:
        """Points of the box from points (rows, d) of the unit cube."""
        return self.lower + unit * self.lengths

    def check_points(self, points: Any, name: str = "points") -> Tensor:
        """Points (rows, d) as a float64 tensor, or an ArgumentError: wrong shape, or a point outside of the box."""
        tensor = to_tensor(points, name, dtype=torch.float64)
        if tensor.ndim == 1 and self.dimension == 1:
            tensor = tensor[:, None]
        if tensor.ndim != 2 or tensor.shape[1] != self.dimension:
            raise ArgumentError(f"{name} must have shape (rows, {self.dimension}), got {tuple(tensor.shape)}")
        unit = (tensor - self.lower.to(tensor)) / self.lengths.to(tensor)
        outside = (unit < -OUTSIDE) | (unit > 1 + OUTSIDE)
        if bool(outside.any()):
            row = int(outside.any(1).nonzero()[0, 0])
            raise ArgumentError(
                f"{name}: {int(outside.any(1).sum())} of {len(tensor)} points lie outside of {self!r}, the first is "
                f"{tensor[row].tolist()} in row {row}"
            )
        return tensor

    def __repr__(self) -> str:
        """The intervals."""
        ends = zip(self.names, self.lower.tolist(), self.upper.tolist(), strict=True)
        return "Box(" + ", ".join(f"{name}: [{low:g}, {high:g}]" for name, low, high in ends) + ")"

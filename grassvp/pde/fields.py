"""What the functions of an equation or a condition are given: an unknown with its derivatives, and how it is asked for.

A field stands for all features at once in a linear equation, (n, rows), and for one function in a nonlinear one,
(rows,): the rows are always the last axis, so that a coefficient (rows,) multiplies either.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.pde.domain import Box

__all__ = ["Field", "Index", "Normal"]

HIGHEST = 4  # order of a derivative

Index = tuple[int, ...]
"""Derivative d_i d_j ... by the columns of the box, ascending; () is the value."""


class Normal(NamedTuple):
    """Outward normal of a face: a column of the box and a sign."""

    column: int
    sign: float


class Field:
    """An unknown u at some points, whose derivatives are looked up when they are asked for."""

    def __init__(self, look_up: Callable[[Index], Tensor], box: Box, where: str, normal: Normal | None = None) -> None:
        self._look_up, self._box, self._where, self._normal = look_up, box, where, normal

    @property
    def value(self) -> Tensor:
        """The unknown itself."""
        return self._look_up(())

    def d(self, *names: str) -> Tensor:
        """The derivative by the named coordinates, such as u.d("x", "x"), of order 1 to 4."""
        if not 1 <= len(names) <= HIGHEST:
            raise ArgumentError(f"{self._where}: u.d takes 1 to {HIGHEST} coordinates, got {names}")
        return self._look_up(tuple(sorted(self._box.index(name, f"{self._where}, u.d") for name in names)))

    def laplacian(self, *names: str) -> Tensor:
        """Sum of the second derivatives by the named coordinates, by all of them where none is named."""
        columns = [self._box.index(name, f"{self._where}, u.laplacian") for name in names or self._box.names]
        return sum(self._look_up((column, column)) for column in columns)  # pyright: ignore[reportReturnType]

    @property
    def normal(self) -> Tensor:
        """The derivative along the outward normal, in the operator of a condition."""
        if self._normal is None:
            raise ArgumentError(f"{self._where}: u.normal is for the operators of conditions, which hold on a face")
        return self._normal.sign * self._look_up((self._normal.column,))

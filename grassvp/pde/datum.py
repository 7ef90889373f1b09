"""Functions of time and place that a marching problem is given: sources, values on faces, exact solutions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.pde.domain import Box
from grassvp.pde.operators import values_of

__all__ = ["TIME", "Datum"]

TIME = "t"
"""Under which name functions find the time among the coordinates, as a column (rows,)."""


@dataclass(frozen=True, eq=False)
class Datum:
    """A number, or a function of the coordinates and of x["t"], on a box of space.

    Attributes:
        given: what the user gave.
        box: the domain in space.
        where: what it is, for messages.
    """

    given: Any
    box: Box
    where: str

    def check(self, points: Tensor) -> "Datum":
        """Itself, or an ArgumentError: it fails at time 0, is not finite there or has another shape than (rows,)."""
        values_of(self.at(0.0) if callable(self.given) else self.given, self.box, points, self.where)
        return self

    @cached_property
    def steady(self) -> bool:
        """Whether it does without the time: it is a number, or a function that never looks x["t"] up."""
        if not callable(self.given):
            return True
        middle = (0.5 * (self.box.lower + self.box.upper))[None]
        try:
            self.given(self.box.columns(middle))
        except KeyError as error:
            if error.args == (TIME,):
                return False
            raise
        return True

    @property
    def is_zero(self) -> bool:
        """Whether it is the number 0."""
        return not callable(self.given) and float(self.given) == 0.0

    def at(self, time: Any) -> Callable[[dict[str, Tensor]], Any]:
        """The function of the coordinates alone at a time, a number or a time for each point, (rows,)."""
        if not callable(self.given):
            return lambda x: self.given

        def frozen(x: dict[str, Tensor]) -> Any:
            column = next(iter(x.values()))
            return self.given(x | {TIME: torch.as_tensor(time, dtype=column.dtype).expand(column.shape)})

        return frozen

    def on(self, time: Any) -> Callable[[Tensor], Tensor]:
        """The function of points (rows, d) at a time, for differentiation: nothing is checked."""
        frozen = self.at(time)

        def values(points: Tensor) -> Tensor:
            result = torch.as_tensor(frozen(self.box.columns(points)), dtype=points.dtype)
            if result.ndim > 0 and tuple(result.shape) != (len(points),):
                raise ArgumentError(
                    f"{self.where} must be a number or have shape ({len(points)},), got {tuple(result.shape)}"
                )
            return result.expand(len(points))

        return values

    def __call__(self, points: Tensor, time: Any) -> Tensor:
        """Values (rows,) at points (rows, d) and a time, or a time for each.

        Raises:
            NonFiniteError: some are NaN or infinite.
        """
        return self.finite(self.on(time)(points), time)

    def rate(self, function: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
        """The derivative by time of a function of times (rows,) that is made of this one."""
        try:
            return jvp(function, (times,), (torch.ones_like(times),))[1]
        except RuntimeError as error:
            raise ArgumentError(
                f"{self.where} depends on time and cannot be differentiated by it: write it with torch operations "
                f"({error})"
            ) from error

    def finite(self, values: Tensor, time: Any) -> Tensor:
        """The values, or a NonFiniteError that says what they are and when."""
        bad = ~torch.isfinite(values)
        if bool(bad.any()):
            first = float(torch.as_tensor(time).expand(values.shape)[bad][0])
            raise NonFiniteError(f"{self.where} is NaN or infinite at {int(bad.sum())} points at time {first:g}")
        return values

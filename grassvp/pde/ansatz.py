"""Conditions that hold by construction: u(x) = g(x) + D(x) N(e(x)).

D vanishes on the faces with exact values, g takes the values there, and e maps a periodic coordinate to a circle. An
operator applied to u is one applied to N, whose coefficients follow by the rules of Leibniz and of the chain; what it
makes of g goes to the targets.

Sources: Lagaris, Likas, Fotiadis 1998 for the ansatz; W. Gordon 1971 for g, the Boolean sum of the interpolations
between opposite faces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from grassvp.errors import ArgumentError
from grassvp.pde.domain import Box
from grassvp.pde.fields import Index
from grassvp.pde.operators import values_of

__all__ = ["Ansatz", "Embedding", "partial"]

AGREEMENT = 1e-9  # of exact values where two faces meet, relative to the largest of them

Factors = dict[Index, Tensor]
"""Coefficients (rows,) by derivative, of one unknown."""


def partial(function: Callable[[Tensor], Tensor], points: Tensor, index: Index) -> Tensor:
    """The derivative d_i d_j ... of a function (rows, d) -> (rows,) of independent rows, (rows,), by forward mode."""
    if not index:
        return function(points)
    *inner, last = index
    direction = torch.zeros_like(points)
    direction[:, last] = 1.0
    return jvp(lambda at: partial(function, at, tuple(inner)), (points,), (direction,))[1]


@dataclass(frozen=True, eq=False)
class Ansatz:
    """D and g for the exact values of one unknown.

    Attributes:
        box: the domain.
        values: the prescribed value, a number or a function of the coordinates, by face.
    """

    box: Box
    values: dict[tuple[str, str], Any]

    def multiplier(self, points: Tensor) -> Tensor:
        """D, (rows,): for each coordinate the distance to its faces with exact values, at most one in size."""
        D = torch.ones_like(points[:, 0])
        for column, sides in self._sides.items():
            for weight in self._weights(points, column, sides).values():
                D = D * weight
            if len(sides) == 2:
                D = 4.0 * D
        return D

    def lift(self, points: Tensor) -> Tensor:
        """g, (rows,)."""
        return self._lift(points, len(self._sides))

    def check(self, points: Tensor) -> None:
        """Raise ArgumentError where g does not take the prescribed values on the faces that the points lie on."""
        for (name, side), value in self.values.items():
            at = points.clone()
            at[:, self.box.names.index(name)] = self.box.end((name, side))
            wanted = values_of(value, self.box, at, f"equals of the exact condition on {(name, side)}")
            size = max(float(wanted.abs().max()), float(self.lift(at).abs().max()))
            if float((self.lift(at) - wanted).abs().max()) > AGREEMENT * size:
                raise ArgumentError(
                    f"conditions: the exact values on {(name, side)} and on the faces that it meets disagree where "
                    "they meet, so that no smooth function takes them; leave exact=True out on one of them"
                )

    def apply(self, terms: Factors, points: Tensor) -> tuple[Factors, Tensor]:
        """The operator on N that a given one on u = g + D N is, and the operator applied to g, (rows,)."""
        inner: Factors = {}
        known: Factors = {}
        fixed = torch.zeros_like(points[:, 0])
        for index, c in terms.items():
            fixed = fixed + c * self._lifted(points, index)
            for count in range(len(index) + 1):
                for kept in combinations(range(len(index)), count):
                    on_n = tuple(index[i] for i in kept)
                    on_d = tuple(index[i] for i in range(len(index)) if i not in kept)
                    if on_d not in known:
                        known[on_d] = partial(self.multiplier, points, on_d)
                    inner[on_n] = inner.get(on_n, 0.0) + c * known[on_d]
        return inner, fixed

    def _lifted(self, points: Tensor, index: Index) -> Tensor:
        """A derivative of g."""
        try:
            return partial(self.lift, points, index)
        except (RuntimeError, TypeError) as error:
            raise ArgumentError(
                "conditions: the values of exact conditions are differentiated, write their equals with torch "
                f"operations: {type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _sides(self) -> dict[int, tuple[str, ...]]:
        """Sides with exact values by column."""
        sides: dict[int, tuple[str, ...]] = {}
        for name, side in self.values:
            column = self.box.names.index(name)
            sides[column] = (*sides.get(column, ()), side)
        return sides

    def _weights(self, points: Tensor, column: int, sides: tuple[str, ...]) -> dict[str, Tensor]:
        """Relative distance from each side, by side."""
        unit = (points[:, column] - float(self.box.lower[column])) / float(self.box.lengths[column])
        return {side: unit if side == "lower" else 1.0 - unit for side in sides}

    def _lift(self, points: Tensor, axes: int) -> Tensor:
        """The Boolean sum over the first so many coordinates with exact values."""
        if axes == 0:
            return torch.zeros_like(points[:, 0])
        g = self._lift(points, axes - 1)
        column, sides = list(self._sides.items())[axes - 1]
        away = self._weights(points, column, sides)
        for side in sides:
            face = (self.box.names[column], side)
            columns = list(points.unbind(1))
            columns[column] = torch.full_like(columns[column], self.box.end(face))
            on_face = torch.stack(columns, 1)
            missing = self._value(face, on_face) - self._lift(on_face, axes - 1)
            other = 1.0 if len(sides) == 1 else 1.0 - away[side]
            g = g + other * missing
        return g

    def _value(self, face: tuple[str, str], points: Tensor) -> Tensor:
        value = self.values[face]
        result = value(self.box.columns(points)) if callable(value) else value
        return torch.as_tensor(result, dtype=points.dtype).expand(len(points))


@dataclass(frozen=True, eq=False)
class Embedding:
    """e: the columns of a box, each periodic one replaced by the cosine and the sine of its angle.

    Attributes:
        box: the domain.
        periodic: columns that are mapped to a circle.
    """

    box: Box
    periodic: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of columns after the map."""
        return self.box.dimension + len(self.periodic)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are, for messages."""
        parts = [
            (f"cos({name})", f"sin({name})") if i in self.periodic else (name,) for i, name in enumerate(self.box.names)
        ]
        return tuple(name for part in parts for name in part)

    def __call__(self, points: Tensor) -> Tensor:
        """e(x), (rows, width)."""
        columns = []
        for i, column in enumerate(points.unbind(1)):
            if i in self.periodic:
                angle = self._rate(i) * (column - float(self.box.lower[i]))
                columns += [torch.cos(angle), torch.sin(angle)]
            else:
                columns.append(column)
        return torch.stack(columns, 1)

    def apply(self, terms: Factors, points: Tensor) -> Factors:
        """The operator in y = e(x) that a given one in x is.

        d_i becomes sum_k e_k,i d_k, and d_i d_j becomes sum_kl e_k,i e_l,j d_k d_l + sum_k e_k,ij d_k.

        Raises:
            ArgumentError: a derivative of third order or higher by a periodic coordinate.
        """
        mapped, inner = self(points), {}

        def add(index: Index, c: Tensor) -> None:
            key = tuple(sorted(index))
            inner[key] = inner[key] + c if key in inner else c

        for index, c in terms.items():
            if len(index) > 2 and set(index) & set(self.periodic):
                raise ArgumentError(
                    "exact periodic conditions: derivatives by a periodic coordinate may have order 1 or 2, got "
                    f"u.d{tuple(self.box.names[i] for i in index)}"
                )
            expanded: list[tuple[Index, Tensor]] = [((), c)]
            for i in index:
                slopes = self._slopes(i, mapped)
                expanded = [((*key, k), factor * slope) for key, factor in expanded for k, slope in slopes.items()]
            for key, factor in expanded:
                add(key, factor)
            if len(index) == 2 and index[0] == index[1] and index[0] in self.periodic:
                k, rate = self.column(index[0]), self._rate(index[0])
                for each in (k, k + 1):
                    add((each,), -(rate**2) * mapped[:, each] * c)
        return inner

    def _rate(self, column: int) -> float:
        return 2.0 * math.pi / float(self.box.lengths[column])

    def column(self, column: int) -> int:
        """First of the mapped columns of a coordinate."""
        return column + sum(each < column for each in self.periodic)

    def _slopes(self, column: int, mapped: Tensor) -> dict[int, Tensor]:
        """The derivatives of the mapped columns by a coordinate, those that are not zero."""
        k = self.column(column)
        if column not in self.periodic:
            return {k: torch.ones_like(mapped[:, 0])}
        rate = self._rate(column)
        return {k: -rate * mapped[:, k + 1], k + 1: rate * mapped[:, k]}

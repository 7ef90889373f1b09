"""What drives a heat equation once its prescribed values are subtracted, on the points of a quadrature.

With G the transfinite interpolant of the prescribed values, v = u - G vanishes on their faces and solves
    v_t = L v + F,   F = f + L G - G_t,   a dv/dn + kappa v = H = (a / normal) (g - value G) - a dG/dn,
where value u + normal du/dn = g is the condition of a face and kappa = a value / normal.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.pde.ansatz import Ansatz, partial
from grassvp.pde.domain import Face
from grassvp.pde.fields import Index
from grassvp.pde.heat import Heat
from grassvp.pde.quadrature import Quadrature

__all__ = ["Forcing"]


class Forcing:
    """F and H of a heat equation on the points of a quadrature and its faces.

    Attributes:
        heat: the equation.
        grid: the quadrature.
        operator: coefficients of L at its points.
        outflow: by face, the coefficients of v -> a dv/dn + kappa v there.
        absorbing: whether kappa >= 0 on all faces, so that v_t = L v loses energy (but for the reaction).
    """

    def __init__(self, heat: Heat, grid: Quadrature) -> None:
        self.heat, self.grid = heat, grid
        self.operator = heat.operator(grid.points)
        self.outflow: dict[Face, dict[Index, Tensor]] = {}
        self._robin: dict[Face, tuple[Tensor, Tensor]] = {}
        self.absorbing = True
        for face, flux in heat.fluxes.items():
            points = grid.faces[face][0]
            value, normal = flux.coefficients(points)
            a = heat.a(points)
            self._robin[face] = value, a / normal
            self.outflow[face] = {(): a * value / normal, (flux.normal.column,): flux.normal.sign * a}
            self.absorbing &= bool((value / normal >= 0).all())
        self._known: dict[str, dict[Any, Tensor]] = {}

    @cached_property
    def steady(self) -> bool:
        """Whether nothing that drives the equation depends on time."""
        values = [*self.heat.values.values(), *(flux.equals for flux in self.heat.fluxes.values())]
        return all(datum.steady for datum in (self.heat.source, *values))

    @cached_property
    def homogeneous(self) -> bool:
        """Whether all prescribed values are the number 0, so that G = 0."""
        return all(datum.is_zero for datum in self.heat.values.values())

    def check(self, time: float) -> None:
        """Raise ArgumentError where prescribed values disagree where their faces meet."""
        try:
            self._ansatz(time).check(self.grid.points)
        except ArgumentError as error:
            raise ArgumentError(
                f"conditions: the values prescribed on faces that meet disagree there at time {time:g}: no smooth "
                "solution takes them"
            ) from error

    def lift(self, time: float, points: Tensor | None = None) -> Tensor:
        """G at the points of the quadrature, or at others, (rows,)."""
        points = self.grid.points if points is None else points
        return torch.zeros_like(points[:, 0]) if self.homogeneous else self._ansatz(time).lift(points)

    def volume(self, times: Tensor) -> Tensor:
        """F at times (k,), (rows, k), or (rows, 1) where nothing depends on time.

        Raises:
            NonFiniteError: it is not finite.
        """
        return self._once("volume", lambda at: {"": self._volume(at)}, times)[""]

    def flux(self, times: Tensor) -> dict[Face, Tensor]:
        """H by face at times (k,), (rows, k) each, or (rows, 1) where nothing depends on time.

        Raises:
            NonFiniteError: it is not finite.
        """
        return self._once("flux", self._flux, times)

    def _volume(self, times: Tensor) -> Tensor:
        points, time = _at_each(self.grid.points, times)
        F = self.heat.source(points, time)
        if not self.homogeneous:
            lift, count = self._ansatz(time).lift, len(times)
            F = F + sum(c.repeat(count) * partial(lift, points, index) for index, c in self.operator.items())
            F = self._finite(F - self._lift_rate(points, time), time)
        return F.view(len(times), -1).T

    def _flux(self, times: Tensor) -> dict[Face, Tensor]:
        driven = {}
        for face, (value, scale) in self._robin.items():
            flux, count = self.heat.fluxes[face], len(times)
            points, time = _at_each(self.grid.faces[face][0], times)
            H = scale.repeat(count) * flux.equals(points, time)
            if not self.homogeneous:
                lift, outward = self._ansatz(time).lift, flux.normal.sign * self.heat.a(points)
                H = H - (scale * value).repeat(count) * lift(points)
                H = self._finite(H - outward * partial(lift, points, (flux.normal.column,)), time)
            driven[face] = H.view(count, -1).T
        return driven

    def _lift_rate(self, points: Tensor, time: Tensor) -> Tensor:
        """G_t."""
        moving = [datum for datum in self.heat.values.values() if not datum.steady]
        if not moving:
            return torch.zeros_like(time)
        return moving[0].rate(lambda t: self._ansatz(t).lift(points), time)

    def _ansatz(self, time: object) -> Ansatz:
        return Ansatz(self.heat.domain, {face: datum.at(time) for face, datum in self.heat.values.items()})

    def _finite(self, values: Tensor, time: Tensor) -> Tensor:
        return next(iter(self.heat.values.values())).finite(values, time)

    def _once(self, name: str, compute: Callable[[Tensor], dict[Any, Tensor]], times: Tensor) -> dict[Any, Tensor]:
        """What is computed anew only where it depends on time."""
        if not self.steady:
            return compute(times)
        if name not in self._known:
            self._known[name] = compute(times[:1])
        return self._known[name]


def _at_each(points: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """All points at the first time, then all at the second and so on, with the time of each."""
    return points.repeat(len(times), 1), times.repeat_interleave(len(points))

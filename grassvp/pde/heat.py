"""The heat equation on a box of space, as the marching solver takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.ansatz import Ansatz, Embedding, partial
from grassvp.pde.conditions import Condition, Periodic, faces_of
from grassvp.pde.datum import TIME, Datum
from grassvp.pde.domain import Box, Face
from grassvp.pde.fields import Index, Normal
from grassvp.pde.operators import Local, linear_terms, values_of
from grassvp.pde.quadrature import Quadrature, quadrature

__all__ = ["Flux", "Heat"]

MOST = 3  # dimensions of space
PROBES = 3  # points a side at which functions are tried when the problem is built


@dataclass(frozen=True, eq=False)
class Flux:
    """A Neumann or Robin condition value u + normal du/dn = equals on one face.

    Attributes:
        condition: as it was given.
        normal: the outward normal.
        equals: the right-hand side.
    """

    condition: Condition
    normal: Normal
    equals: Datum

    def coefficients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(value, normal) at points of the face, (rows,) each; (value, 0) for a condition on the value.

        Raises:
            ArgumentError: another derivative takes part, or `normal` vanishes at some of the points only.
        """
        where, box = f"the operator of {self.condition!r}", self.equals.box
        operator: Any = self.condition.operator
        terms = linear_terms(Local(operator, box, points, (), where, self.normal))
        keys = {(0, ()), (0, (self.normal.column,))}
        if len(terms) != 1 or set(terms[0]) - keys:
            raise ArgumentError(f"{where} must be a combination of u.value and u.normal, and one equation")
        zero = torch.zeros(len(points), dtype=torch.float64)
        value = terms[0].get((0, ()), zero)
        normal = self.normal.sign * terms[0].get((0, (self.normal.column,)), zero)
        if bool((normal == 0).any()) and bool((normal != 0).any()):
            raise ArgumentError(f"{where} must not lose its normal derivative at some points of the face")
        return value, normal


class Heat:
    """u_t = div(a grad u) + c u + f on a box of space, with an initial value and a condition on every face.

    Functions are given the coordinates as columns (rows,) by name, and the time as x["t"] where they ask for it.

    Attributes:
        domain: the box of space, of one to three dimensions.
        diffusivity: a > 0.
        reaction: c, a number.
        source: f.
        initial: u at time 0.
        periodic: columns of the periodic coordinates.
        values: the prescribed value by face (Dirichlet).
        fluxes: the prescribed combination of value and normal derivative by face (Neumann, Robin).
        embedding: the coordinates as the network sees them, each periodic one as a point of a circle.
    """

    def __init__(
        self,
        domain: Box,
        *,
        diffusivity: Any = 1.0,
        reaction: float = 0.0,
        source: Any = 0.0,
        conditions: Sequence[Condition | Periodic] = (),
        initial: Any = None,
    ) -> None:
        """Check the problem at a few points, at time 0.

        Args:
            domain: the box of space; time is no coordinate of it.
            diffusivity: a number or a function of place.
            reaction: a number.
            source: a number or a function of place and time.
            conditions: one for every face that is not periodic; the right-hand sides may depend on time. The value
                ones hold exactly, and on faces that meet they must agree there.
            initial: a number or a function of place.

        Raises:
            ArgumentError, ArgumentTypeError: naming what cannot be used.
        """
        if not isinstance(domain, Box):
            raise ArgumentTypeError(f"domain must be a pde.Box, got {type(domain).__name__}")
        if TIME in domain.names or domain.dimension > MOST:
            raise ArgumentError(
                f"domain must be a box of space with 1 to {MOST} coordinates, none of them called {TIME!r}; got "
                f"{domain!r}"
            )
        if initial is None:
            raise ArgumentError("initial must be the value of u at time 0, a number or a function; got None")
        self.domain = domain
        self.reaction = float(to_tensor(reaction, "reaction", dtype=torch.float64))
        self.periodic = _periodic(conditions, domain)
        self.embedding = Embedding(domain, self.periodic)
        probes = quadrature(domain, (PROBES,) * domain.dimension, self.periodic)
        self.diffusivity = self._datum(diffusivity, "diffusivity", probes.points)
        self.source = self._datum(source, "source", probes.points)
        self.initial = self._datum(initial, "initial", probes.points)
        for name in ("diffusivity", "initial"):
            if not getattr(self, name).steady:
                raise ArgumentError(f"{name} must not depend on time")
        self.a(probes.points)
        self.values: dict[Face, Datum] = {}
        self.fluxes: dict[Face, Flux] = {}
        self._take(conditions, probes)
        self.multiplier = Ansatz(domain, dict.fromkeys(self.values, 0.0))

    def a(self, points: Tensor) -> Tensor:
        """The diffusivity, (rows,).

        Raises:
            ArgumentError: it is not positive somewhere.
        """
        values = values_of(self.diffusivity.given, self.domain, points, "diffusivity")
        if not bool((values > 0).all()):
            raise ArgumentError(f"diffusivity must be > 0 everywhere, got {float(values.min()):g}")
        return values

    def operator(self, points: Tensor) -> dict[Index, Tensor]:
        """Coefficients of div(a grad u) + c u = a Laplacian u + grad a . grad u + c u by derivative."""
        a = self.a(points)
        terms: dict[Index, Tensor] = {(): torch.full_like(a, self.reaction)}
        for i in range(self.domain.dimension):
            terms[i, i] = a
            if callable(self.diffusivity.given):
                terms[i,] = partial(self.diffusivity.on(0.0), points, (i,))
        return terms

    def applied(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The function div(a grad w) + c w of points, for a function w of points; it can be differentiated again."""
        a = self.diffusivity.on(0.0)

        def result(points: Tensor) -> Tensor:
            total = self.reaction * function(points)
            for i in range(self.domain.dimension):
                total = total + a(points) * partial(function, points, (i, i))
                if callable(self.diffusivity.given):
                    total = total + partial(a, points, (i,)) * partial(function, points, (i,))
            return total

        return result

    def exact(self, given: Any) -> Datum:
        """An exact solution as a checked function of place and time."""
        points = quadrature(self.domain, (PROBES,) * self.domain.dimension, self.periodic).points
        return self._datum(given, "exact", points)

    def _datum(self, given: Any, where: str, points: Tensor) -> Datum:
        return Datum(given, self.domain, where).check(points)

    def _take(self, conditions: Sequence[Condition | Periodic], probes: Quadrature) -> None:
        """Sort the conditions by face."""
        closed = {face for face in self.domain.faces if self.domain.names.index(face[0]) in self.periodic}
        for condition in conditions:
            if isinstance(condition, Periodic):
                continue
            if condition.of is not None or condition.weight != 1.0:
                raise ArgumentError(
                    f"{condition!r}: marching takes no weights and has one unknown; leave of and weight"
                )
            faces = faces_of(condition.on, self.domain)
            for face in (face for face in faces if condition.on != "boundary" or face not in closed):
                if face in closed or face in self.values or face in self.fluxes:
                    raise ArgumentError(f"conditions: there is more than one on {face}")
                self._add(condition, face, probes.faces[face][0])
        missing = [face for face in self.domain.faces if face not in {*closed, *self.values, *self.fluxes}]
        if missing:
            raise ArgumentError(f"conditions: there is none on {missing[0]}; give one for every face, or periodic")

    def _add(self, condition: Condition, face: Face, points: Tensor) -> None:
        equals = Datum(condition.equals, self.domain, f"equals of {condition!r}").check(points)
        if condition.operator is None:
            self.values[face] = equals
            return
        flux = Flux(condition, Normal(self.domain.names.index(face[0]), 1.0 if face[1] == "upper" else -1.0), equals)
        _, normal = flux.coefficients(points)
        if not bool((normal != 0).all()):
            raise ArgumentError(f"{condition!r}: prescribe the value of u without an operator, as pde.dirichlet does")
        self.fluxes[face] = flux

    def __repr__(self) -> str:
        """The domain and what holds on its faces."""
        parts = [f"{self.domain!r}"]
        parts += [f"periodic in {self.domain.names[i]}" for i in self.periodic]
        parts += [f"values on {len(self.values)} faces"] if self.values else []
        parts += [f"fluxes on {len(self.fluxes)} faces"] if self.fluxes else []
        return f"Heat({', '.join(parts)})"


def _periodic(conditions: Any, domain: Box) -> tuple[int, ...]:
    """Columns of the periodic coordinates, ascending."""
    if not isinstance(conditions, Sequence) or not all(isinstance(each, Condition | Periodic) for each in conditions):
        raise ArgumentTypeError(f"conditions must be a list of pde conditions, got {conditions!r}")
    given = [each for each in conditions if isinstance(each, Periodic)]
    if any(each.weight != 1.0 for each in given):
        raise ArgumentError("conditions: periodic ones hold by construction here and take no weight")
    columns = [domain.index(each.axis, f"periodic({each.axis!r})") for each in given]
    if len(set(columns)) < len(columns):
        raise ArgumentError(f"conditions: a coordinate is periodic twice, got {[each.axis for each in given]}")
    return tuple(sorted(columns))

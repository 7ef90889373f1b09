"""Equations with their conditions on a box, checked as far as can be without a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.ansatz import Ansatz, Embedding, partial
from grassvp.pde.assembly import Block
from grassvp.pde.binding import bind, check_coefficients, takes_coefficients
from grassvp.pde.checks import check_conditions, check_exactness, check_guess
from grassvp.pde.conditions import Condition, Periodic, faces_of
from grassvp.pde.domain import Box
from grassvp.pde.fields import Index
from grassvp.pde.operators import Local, values_of
from grassvp.pde.rows import LookUp, Places, condition_blocks, equation_blocks, on_faces, unknown_of
from grassvp.pde.sampling import interior_points

__all__ = ["Equations"]

PROBES = 16  # points that equations and conditions are tried at when they are given


@dataclass(frozen=True, eq=False)
class Equations:
    """What is to be solved, without how.

    Attributes:
        box: the domain.
        equation: (u, x) -> a tensor, or a tuple of tensors for a system.
        source: its right-hand side, a number or function; a tuple for a system.
        conditions: on the faces.
        unknowns: names, () for one without a name.
        linear: whether the equation is linear.
        weight: of the equations' rows.
        guess: where a nonlinear equation is linearised first, a number or function; a tuple of them for a system.
        coefficients: names of unknown coefficients p, and where they start; the functions are then at these, unless
            they are asked for `at` others.
    """

    box: Box
    equation: Callable[[Any, Any], Any]
    source: Any
    conditions: tuple[Condition | Periodic, ...]
    unknowns: tuple[str, ...] = ()
    linear: bool = True
    weight: float = 1.0
    guess: Any = 0.0
    coefficients: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what was given, and try the equation and the conditions at a few points."""
        if not isinstance(self.box, Box):
            raise ArgumentTypeError(f"domain must be a pde.Box, got {type(self.box).__name__}")
        if not callable(self.equation):
            raise ArgumentTypeError(f"equation must be callable as equation(u, x), got {self.equation!r}")
        check_coefficients(self.coefficients)
        if not isinstance(self.linear, bool):
            raise ArgumentTypeError(f"linear must be True or False, got {self.linear!r}")
        if check_nonnegative(self.weight, "weight") == 0.0:
            raise ArgumentError("weight must be > 0, got 0")
        check_guess(self.guess, max(len(self.unknowns), 1))
        if self.conditions or not self.coefficients:  # data may make up for conditions
            check_conditions(self.conditions, self.box)
        self._check_functions()
        rng = np.random.default_rng(0)
        probes = interior_points(self.box, PROBES, "random", rng)
        count = len(self.interior_blocks(probes))
        if count != max(len(self.unknowns), 1):
            raise ArgumentError(
                f"equation returns {count} tensors for {max(len(self.unknowns), 1)} unknowns: it needs one for each"
            )
        self.face_blocks(self.places(2 * PROBES * len(self.conditions) * self.box.dimension, "random", rng))
        for ansatz in self.ansatz.values():
            check_exactness(ansatz, self.embedding, probes)

    @property
    def start(self) -> Tensor:
        """Where the unknown coefficients start, (s,)."""
        return torch.tensor(list(self.coefficients.values()), dtype=torch.float64)

    @property
    def moving_targets(self) -> bool:
        """Whether a right-hand side depends on the unknown coefficients."""
        return any(takes_coefficients(given, 1) for given in (*_each(self.source), *_right_sides(self.conditions)))

    def at(self, coefficients: Tensor, *, traced: bool = False) -> "Equations":
        """The equations where the coefficients (s,) are known, unchecked if they are traced for derivatives by them."""
        names, known = tuple(self.coefficients), object.__new__(Equations)

        def own(function: Any, arguments: int) -> Any:
            return bind(function, arguments, names, coefficients, traced=traced)

        sources = tuple(own(each, 1) for each in _each(self.source))
        bound = {
            "equation": own(self.equation, 2),
            "source": sources if isinstance(self.source, tuple | list) else sources[0],
            "conditions": tuple(
                replace(each, equals=own(each.equals, 1), operator=own(each.operator, 2))
                if isinstance(each, Condition)
                else each
                for each in self.conditions
            ),
            "coefficients": {},
        }
        vars(known).update(vars(self) | bound)
        return known

    @property
    def soft(self) -> list[Condition | Periodic]:
        """The conditions that hold in the least-squares sense."""
        return [each for each in self.conditions if not each.exact]

    @property
    def pieces(self) -> int:
        """How many faces the soft conditions have, each counted as often as there are conditions on it."""
        return sum(1 if isinstance(each, Periodic) else len(faces_of(each.on, self.box)) for each in self.soft)

    @property
    def ansatz(self) -> dict[int, Ansatz]:
        """The exact values by unknown."""
        values: dict[int, dict[tuple[str, str], Any]] = {}
        for each in self.conditions:
            if isinstance(each, Condition) and each.exact:
                of, faces = values.setdefault(unknown_of(each, self.unknowns), {}), faces_of(each.on, self.box)
                if set(of) & set(faces):
                    raise ArgumentError(f"conditions: an exact value is given twice on {sorted(set(of) & set(faces))}")
                of |= dict.fromkeys(faces, each.equals)
        return {j: Ansatz(self.box, faces) for j, faces in values.items()}

    @property
    def embedding(self) -> Embedding | None:
        """The map of exactly periodic coordinates to circles, None where there are none."""
        axes = {each.axis for each in self.conditions if isinstance(each, Periodic) and each.exact}
        return Embedding(self.box, tuple(i for i, name in enumerate(self.box.names) if name in axes)) if axes else None

    def interior_blocks(self, points: Tensor, look_up: LookUp | None = None) -> list[Block]:
        """A block for each equation; a nonlinear one is linearised at a field, at the guess where none is given."""
        if self.coefficients:
            return self.at(self.start).interior_blocks(points, look_up)
        local = Local(self.equation, self.box, points, self.unknowns, "equation")
        if not self.linear and look_up is None:
            look_up = self.guessed(points)
        return equation_blocks(local, self.source, self.weight, look_up)

    def guessed(self, points: Tensor) -> LookUp:
        """The derivatives of the guess."""
        guesses = self.guess if isinstance(self.guess, tuple | list) else (self.guess,) * max(len(self.unknowns), 1)
        return lambda unknown, index: values_of(
            lambda x: _derivative(guesses[unknown], self.box, points, index), self.box, points, "guess"
        )

    def face_blocks(self, places: Sequence[Places]) -> list[Block]:
        """The blocks of the soft conditions at their points."""
        if self.coefficients:
            return self.at(self.start).face_blocks(places)
        blocks = []
        for number, (condition, place) in enumerate(zip(self.soft, places, strict=True)):
            name = f"condition {number + 1} of {len(self.soft)} (on {getattr(condition, 'on', None) or condition.axis})"  # pyright: ignore[reportAttributeAccessIssue]
            blocks += condition_blocks(condition, place, self.box, self.unknowns, name)
        return blocks

    def places(self, count: int, sampling: str, rng: np.random.Generator) -> list[Places]:
        """`count` points of the soft conditions."""
        return on_faces(self.soft, self.box, count, sampling, rng) if self.soft else []

    def _check_functions(self) -> None:
        """Raise ArgumentError unless the functions that may take unknown coefficients do, and no others."""
        taken = takes_coefficients(self.equation, 2)
        if self.coefficients and not self.linear:
            raise ArgumentError("coefficients: unknown ones are for equations that are linear in u, linear=True")
        if taken != bool(self.coefficients):
            names = ", ".join(map(repr, self.coefficients))
            raise ArgumentError(
                f"equation must take a third argument, equation(u, x, p), as there are coefficients {names}"
                if self.coefficients
                else "equation takes three arguments, and the third is for coefficients, of which there are none"
            )
        exact = [each for each in self.conditions if isinstance(each, Condition) and each.exact]
        if any(takes_coefficients(given, 1) for given in _right_sides(exact)):
            raise ArgumentError("conditions: exact values cannot depend on unknown coefficients: leave exact=True out")


def _each(source: Any) -> tuple[Any, ...]:
    return tuple(source) if isinstance(source, tuple | list) else (source,)


def _right_sides(conditions: Sequence[Condition | Periodic]) -> list[Any]:
    return [each.equals for each in conditions if isinstance(each, Condition)]


def _derivative(guess: Any, box: Box, points: Tensor, index: Index) -> Tensor:
    if not callable(guess):
        return torch.full_like(points[:, 0], 0.0 if index else guess)
    function: Any = guess
    return partial(lambda at: function(box.columns(at)), points, index)

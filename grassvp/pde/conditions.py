"""Conditions on the faces of a box: what a solution of an equation is prescribed there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.domain import SIDES, Box, Face

__all__ = [
    "Condition",
    "Periodic",
    "dirichlet",
    "faces_of",
    "initial",
    "initial_velocity",
    "neumann",
    "periodic",
    "robin",
]


@dataclass(frozen=True)
class Condition:
    """operator(u, x) = equals on some faces.

    Attributes:
        on: a face such as ("x", "lower"), both faces of a coordinate as ("x", "both"), a list of these, or "boundary"
            for all faces of the box.
        equals: a number, or a function of the coordinates, x["t"] a column (rows,), to (rows,).
        operator: a function (u, x) linear in u, of `u.value`, `u.d("x")` and so on, or of `u.normal`, the derivative
            along the outward normal; None prescribes the value of u.
        of: which unknown None prescribes, for a system of several.
        weight: of its rows, on top of the automatic balance; > 0.
        exact: satisfy it by construction, u = g + D N, and not in the least-squares sense; for values of u only.
    """

    on: Any
    equals: Any = 0.0
    operator: Callable[[Any, Any], Any] | None = None
    of: str | None = None
    weight: float = 1.0
    exact: bool = False

    def __post_init__(self) -> None:
        """Check what can be seen without a box."""
        if self.operator is not None and not callable(self.operator):
            raise ArgumentTypeError(f"operator must be callable as operator(u, x), got {self.operator!r}")
        if self.operator is not None and self.exact:
            raise ArgumentError("exact is for conditions on the value of u, whose operator is None")
        if self.operator is not None and self.of is not None:
            raise ArgumentError("of names the unknown whose value is prescribed: leave it out beside an operator")
        _check_weight(self.weight)

    def __repr__(self) -> str:
        """The faces and what is prescribed there."""
        kind = "u" if self.operator is None else "operator(u, x)"
        return f"Condition({kind} on {self.on!r})"


@dataclass(frozen=True)
class Periodic:
    """u and its derivative by `axis` agree on the two faces of that coordinate.

    Attributes:
        axis: the coordinate.
        derivatives: up to which order they agree beside the value: 1 for equations of second order in it.
        weight: of its rows, on top of the automatic balance; > 0.
        exact: make the features periodic, by giving the network cos and sin of the coordinate instead of itself (it
            then takes one input more for each such coordinate), and not in the least-squares sense.
    """

    axis: str
    derivatives: int = 1
    weight: float = 1.0
    exact: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if self.derivatives not in (0, 1, 2, 3):
            raise ArgumentError(f"derivatives must be 0, 1, 2 or 3, got {self.derivatives!r}")
        _check_weight(self.weight)


def dirichlet(on: Any, equals: Any = 0.0, **options: Any) -> Condition:
    """Prescribe u = equals; options as for `Condition`."""
    return Condition(on, equals, **options)


def neumann(on: Any, equals: Any = 0.0, **options: Any) -> Condition:
    """Prescribe du/dn = equals, the derivative along the outward normal; options as for `Condition`."""
    of, options = _unknown(options)
    return Condition(on, equals, lambda u, x: of(u).normal, **options)


def robin(on: Any, value: Any, normal: Any, equals: Any = 0.0, **options: Any) -> Condition:
    """Prescribe value u + normal du/dn = equals, numbers or functions each; options as for `Condition`."""
    of, options = _unknown(options)

    def operator(u: Any, x: Any) -> Any:
        a, b = (each(x) if callable(each) else each for each in (value, normal))
        return a * of(u).value + b * of(u).normal

    return Condition(on, equals, operator, **options)


def initial(equals: Any = 0.0, axis: str = "t", **options: Any) -> Condition:
    """Prescribe u = equals at the beginning of time; options as for `Condition`."""
    return Condition((axis, "lower"), equals, **options)


def initial_velocity(equals: Any = 0.0, axis: str = "t", **options: Any) -> Condition:
    """Prescribe the derivative by time at its beginning, u_t = equals; options as for `Condition`."""
    of, options = _unknown(options)
    return Condition((axis, "lower"), equals, lambda u, x: of(u).d(axis), **options)


def periodic(axis: str, **options: Any) -> Periodic:
    """Let u agree on the two faces of a coordinate; options as for `Periodic`."""
    return Periodic(axis, **options)


def faces_of(on: Any, box: Box) -> tuple[Face, ...]:
    """The faces that `on` names.

    Raises:
        ArgumentError, ArgumentTypeError: it names none, or a coordinate or side that there is not.
    """
    if on == "boundary":
        return box.faces
    if isinstance(on, Sequence) and not isinstance(on, str):
        if len(on) == 2 and all(isinstance(part, str) for part in on) and on[0] != "boundary":
            name, side = on
            box.index(name, f"on={on!r}")
            if side not in (*SIDES, "both"):
                raise ArgumentError(f"on={on!r}: the side must be 'lower', 'upper' or 'both', got {side!r}")
            return tuple((name, each) for each in (SIDES if side == "both" else (side,)))
        if on and not all(isinstance(part, str) for part in on):
            return tuple(dict.fromkeys(face for part in on for face in faces_of(part, box)))
    raise ArgumentTypeError(
        f'on must be "boundary", a face such as ("{box.names[0]}", "lower"), or a list of faces, got {on!r}'
    )


def _unknown(options: dict[str, Any]) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """The unknown that an operator is about, and the other options."""
    name = options.pop("of", None)

    def of(u: Any) -> Any:
        unknowns = tuple(u) if isinstance(u, Mapping) else (None,)
        if name not in unknowns:
            raise ArgumentError(f"of must name one of the unknowns {unknowns}, got {name!r}")
        return u if name is None else u[name]

    return of, options


def _check_weight(weight: Any) -> None:
    if check_nonnegative(weight, "weight") == 0.0:
        raise ArgumentError("weight must be > 0, got 0: leave the condition out")

"""Checks of what equations are made from, before any network is there."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.ansatz import AGREEMENT, Ansatz, Embedding, partial
from grassvp.pde.conditions import Condition, Periodic, faces_of
from grassvp.pde.domain import Box

__all__ = ["check_conditions", "check_exactness", "check_guess", "check_unknowns", "sequence_of_conditions"]


def sequence_of_conditions(conditions: Any) -> tuple[Condition | Periodic, ...]:
    """The conditions as a tuple, one alone too, or ArgumentTypeError."""
    if isinstance(conditions, Condition | Periodic):
        return (conditions,)
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        raise ArgumentTypeError(f"conditions must be a list of pde.Condition or pde.Periodic, got {conditions!r}")
    return tuple(conditions)


def check_conditions(conditions: Sequence[Any], box: Box) -> None:
    """Raise unless there are conditions, on faces of the box."""
    if not conditions:
        raise ArgumentError(
            "conditions is empty: without any the solution is not determined; give boundary or initial conditions, "
            'such as [pde.Condition(on="boundary", equals=0.0)]'
        )
    for each in conditions:
        if isinstance(each, Periodic):
            box.index(each.axis, repr(each))
        elif isinstance(each, Condition):
            faces_of(each.on, box)
        else:
            raise ArgumentTypeError(f"conditions must be pde.Condition or pde.Periodic objects, got {each!r}")


def check_unknowns(unknowns: Any) -> tuple[str, ...]:
    """The names as a tuple, or an exception."""
    names = () if isinstance(unknowns, str) or not isinstance(unknowns, Sequence) else tuple(unknowns)
    if (unknowns and not names) or not isinstance(unknowns, Sequence | tuple):
        raise ArgumentTypeError(f'unknowns must be a sequence of names such as ("u", "v"), got {unknowns!r}')
    if not all(isinstance(name, str) and name for name in names):
        raise ArgumentTypeError(f'unknowns must be a sequence of names such as ("u", "v"), got {unknowns!r}')
    if len(set(names)) < len(names):
        raise ArgumentError(f"unknowns must have different names, got {unknowns!r}")
    return names


def check_guess(guess: Any, unknowns: int) -> None:
    """Raise unless the guess is a number or a function, or one for each unknown."""
    parts = tuple(guess) if isinstance(guess, tuple | list) else (guess,) * unknowns
    if len(parts) != unknowns:
        raise ArgumentError(f"guess must have one entry for each of {unknowns} unknowns, got {len(parts)}")
    for part in parts:
        if not callable(part) and (isinstance(part, bool | str) or not hasattr(part, "__float__")):
            raise ArgumentTypeError(f"guess must be a number or a function of the coordinates, got {part!r}")


def check_exactness(ansatz: Ansatz, embedding: Embedding | None, points: Tensor) -> None:
    """Raise ArgumentError where exact values contradict each other, or exact periodicity."""
    ansatz.check(points)
    for column in () if embedding is None else embedding.periodic:
        name = embedding.box.names[column]  # pyright: ignore[reportOptionalMemberAccess]
        if any(axis == name for axis, _ in ansatz.values):
            raise ArgumentError(f"conditions: {name} is exactly periodic and has an exact value on one of its faces")
        sides = []
        for end in (ansatz.box.lower, ansatz.box.upper):
            face = points.clone()
            face[:, column] = end[column]
            sides.append(torch.stack([partial(ansatz.lift, face, index) for index in ((), (column,))]))
        size = float(torch.stack(sides).abs().max())
        if float((sides[0] - sides[1]).abs().max()) > AGREEMENT * size:
            raise ArgumentError(f"conditions: {name} is exactly periodic and the exact values on other faces are not")

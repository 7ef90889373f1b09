"""The blocks of rows that an equation and its conditions have at collocation points."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.pde.assembly import Block, joined_terms
from grassvp.pde.conditions import Condition, Periodic, faces_of
from grassvp.pde.domain import Box, Face
from grassvp.pde.fields import Index, Normal
from grassvp.pde.operators import Local, Terms, linear_terms, linearized_terms, values_of
from grassvp.pde.sampling import face_points

__all__ = ["condition_blocks", "equation_blocks", "on_faces", "unknown_of"]

LookUp = Callable[[int, Index], Tensor]
Places = list[tuple[Face, Tensor]]
"""Points (rows, d) on each face of a condition."""


def equation_blocks(local: Local, source: Any, weight: float, look_up: LookUp | None = None) -> list[Block]:
    """A block for each equation: linear, or linearised at a field for the next one, L u = L u_k - F(u_k) + source."""
    if look_up is None:
        found = [(terms, torch.zeros(len(local.points), dtype=torch.float64)) for terms in linear_terms(local)]
    else:
        found = []
        for terms, F in linearized_terms(local, look_up):
            known = sum(c * look_up(*key) for key, c in terms.items())
            found.append((terms, known - F))
    sources = source if isinstance(source, tuple | list) else (source,) * len(found)
    if len(sources) != len(found):
        raise ArgumentError(f"source must have one entry for each of {len(found)} equations, got {len(sources)}")
    blocks = []
    for number, ((terms, known), given) in enumerate(zip(found, sources, strict=True)):
        name, values = _numbered("equation", number, len(found)), _numbered("source", number, len(found))
        targets = known + values_of(given, local.box, local.points, values)
        blocks.append(Block(name, local.points, terms, targets, weight))
    return blocks


def on_faces(
    conditions: Sequence[Condition | Periodic], box: Box, count: int, sampling: str, rng: np.random.Generator
) -> list[Places]:
    """Points of each condition, `count` rows in all, the same number on each face of each condition."""
    faces = [((each.axis, "lower"),) if isinstance(each, Periodic) else faces_of(each.on, box) for each in conditions]
    shares = sum(len(each) for each in faces)
    if count < shares:
        raise ArgumentError(f"boundary must be >= {shares}, a point on each face of each condition, got {count}")
    least, more = divmod(count, shares)
    places, number = [], 0
    for condition, those in zip(conditions, faces, strict=True):
        rows = condition.derivatives + 1 if isinstance(condition, Periodic) else 1
        place = []
        for face in those:
            size = (least + (number < more)) // rows
            place.append((face, face_points(box, face, max(size, 1), sampling, rng)))
            number += 1
        places.append(place)
    return places


def condition_blocks(
    condition: Condition | Periodic, places: Places, box: Box, unknowns: tuple[str, ...], name: str
) -> list[Block]:
    """The block of a condition; one for each derivative and unknown of a periodic one."""
    if isinstance(condition, Periodic):
        return _periodic_blocks(condition, places, box, unknowns, name)
    parts: list[tuple[Tensor, Terms, Tensor]] = []
    for face, points in places:
        targets = values_of(condition.equals, box, points, f"equals of {name}")
        parts.append((points, _terms(condition, face, points, box, unknowns, name), targets))
    points, _, targets = (list(each) for each in zip(*parts, strict=True))
    terms = joined_terms([(len(at), own) for at, own, _ in parts])
    return [Block(name, torch.cat(points), terms, torch.cat(targets), condition.weight)]


def unknown_of(condition: Condition, unknowns: tuple[str, ...]) -> int:
    """Number of the unknown whose value a condition prescribes.

    Raises:
        ArgumentError: there are several and it names none, or one that there is not.
    """
    if condition.of is None and len(unknowns) <= 1:
        return 0
    if condition.of not in unknowns:
        raise ArgumentError(f"{condition!r}: of must name one of the unknowns {unknowns}, got {condition.of!r}")
    return unknowns.index(condition.of)


def _terms(condition: Condition, face: Face, points: Tensor, box: Box, unknowns: tuple[str, ...], name: str) -> Terms:
    if condition.operator is None:
        return {(unknown_of(condition, unknowns), ()): torch.ones(len(points), dtype=torch.float64)}
    normal = Normal(box.names.index(face[0]), -1.0 if face[1] == "lower" else 1.0)
    found = linear_terms(Local(condition.operator, box, points, unknowns, f"operator of {name}", normal))
    if len(found) != 1:
        raise ArgumentError(f"operator of {name} must return one tensor, got {len(found)}: give several conditions")
    return found[0]


def _periodic_blocks(
    condition: Periodic, places: Places, box: Box, unknowns: tuple[str, ...], name: str
) -> list[Block]:
    ((_, points),) = places
    column = box.names.index(condition.axis)
    opposite, zero = points.clone(), torch.zeros(len(points), dtype=torch.float64)
    opposite[:, column] = float(box.upper[column])
    names = [name, *(f"{name}, derivative {order}" for order in range(1, condition.derivatives + 1))]
    return [
        Block(names[order], points, {(j, (column,) * order): zero + 1.0}, zero, condition.weight, opposite)
        for j in range(max(len(unknowns), 1))
        for order in range(condition.derivatives + 1)
    ]


def _numbered(name: str, number: int, count: int) -> str:
    return name if count == 1 else f"{name} {number + 1}"

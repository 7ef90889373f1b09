"""Collocation points in a box and on its faces: grids, even or of Chebyshev's points, and (quasi-)random sets."""

import math

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from grassvp.pde.domain import Box, Face

__all__ = ["GRIDS", "SAMPLINGS", "check_points", "face_points", "interior_points"]

SAMPLINGS = ("grid", "random", "latin-hypercube", "sobol", "chebyshev")
GRIDS = ("grid", "chebyshev")
CHECK_SIDE = {1: 1001, 2: 101, 3: 25}  # points a side of the grids that errors are measured on; Sobol above
CHECK_COUNT = 2**14
CHECK_SEED = 2**31 - 1  # not one that is likely to be given for collocation points, which would then be among these


def interior_points(box: Box, count: int, sampling: str, rng: np.random.Generator) -> Tensor:
    """Points inside the box, (rows, d).

    A grid ("grid", "chebyshev") has as equal numbers of points along the coordinates as allow at most `count` in all,
    and none on the faces; the other sets have exactly `count`.
    """
    return box.scaled(_unit(box.dimension, count, sampling, rng, ends=False))


def face_points(box: Box, face: Face, count: int, sampling: str, rng: np.random.Generator) -> Tensor:
    """Points on a face, (rows, d), as in `interior_points`; the grid of an edge has its ends. One point where d = 1."""
    column, d = box.names.index(face[0]), box.dimension
    if d == 1:
        return torch.full((1, 1), box.end(face), dtype=torch.float64)
    flat = _unit(d - 1, count, sampling, rng, ends=d == 2)
    unit = torch.cat([flat[:, :column], flat.new_zeros(len(flat), 1), flat[:, column:]], dim=1)
    points = box.scaled(unit)
    points[:, column] = box.end(face)
    return points


def check_points(box: Box) -> Tensor:
    """Points that errors are measured on, (rows, d): a grid with its ends, or a Sobol set above three coordinates."""
    d = box.dimension
    if d in CHECK_SIDE:
        axis = torch.linspace(0.0, 1.0, CHECK_SIDE[d], dtype=torch.float64)
        return box.scaled(torch.cartesian_prod(*[axis] * d).view(-1, d))
    return box.scaled(_unit(d, CHECK_COUNT, "sobol", np.random.default_rng(CHECK_SEED), ends=False))


def _unit(d: int, count: int, sampling: str, rng: np.random.Generator, *, ends: bool) -> Tensor:
    """Points of the unit cube."""
    if sampling in GRIDS:
        sides = [_side(side, ends) if sampling == "grid" else _chebyshev(side) for side in _sides(d, count)]
        return torch.cartesian_prod(*sides).view(-1, d)
    if sampling == "random":
        unit = rng.random((count, d))
    elif sampling == "latin-hypercube":
        unit = qmc.LatinHypercube(d, rng=rng).random(count)
    else:
        powers = int(np.ceil(np.log2(count))) if count > 1 else 0
        unit = qmc.Sobol(d, rng=rng).random_base2(powers)[:count]
    return torch.from_numpy(unit)


def _sides(d: int, count: int) -> list[int]:
    """Points along each coordinate of the largest nearly cubic grid of at most `count`."""
    side = round(count ** (1.0 / d))
    side -= side**d > count
    sides = [max(side, 1)] * d
    for axis in range(d):
        if np.prod(sides) // sides[axis] * (sides[axis] + 1) <= count:
            sides[axis] += 1
    return sides


def _chebyshev(count: int) -> Tensor:
    """Zeros of a Chebyshev polynomial, which crowd towards the ends as layers do."""
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
    return (1.0 - torch.cos(angle)) / 2


def _side(count: int, ends: bool) -> Tensor:
    if ends:
        return torch.linspace(0.0, 1.0, count, dtype=torch.float64) if count > 1 else torch.full((1,), 0.5).double()
    return torch.arange(1, count + 1, dtype=torch.float64) / (count + 1)

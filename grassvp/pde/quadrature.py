"""Quadrature on a box and its faces: Gauss-Legendre points along open coordinates, equidistant ones along circles."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.pde.domain import Box, Face

__all__ = ["Quadrature", "quadrature"]


@dataclass(frozen=True, eq=False)
class Quadrature:
    """A tensor grid with its weights.

    Attributes:
        points: (rows, d), the last coordinate running fastest.
        weights: (rows,), positive, with the volume of the box as their sum.
        faces: points (rows, d) and weights (rows,) on each face that is not periodic.
        axes: the points along each coordinate.
        periodic: columns of the periodic coordinates.
    """

    points: Tensor
    weights: Tensor
    faces: dict[Face, tuple[Tensor, Tensor]]
    axes: tuple[Tensor, ...]
    periodic: tuple[int, ...]

    @cached_property
    def roots(self) -> Tensor:
        """Square roots of the weights: rows multiplied by them have the L2 norm as their Euclidean one."""
        return torch.sqrt(self.weights)

    def norm(self, values: Tensor) -> float:
        """L2 norm of a function from its values (rows,)."""
        return float(torch.linalg.vector_norm(self.roots * values))

    @cached_property
    def differentiation(self) -> tuple[Tensor, ...]:
        """For each coordinate the matrix that differentiates the interpolant along it."""
        return tuple(_fourier(x) if i in self.periodic else _barycentric(x) for i, x in enumerate(self.axes))

    def gradient(self, values: Tensor) -> list[Tensor]:
        """The derivatives (rows,) of the interpolant of a function from its values (rows,)."""
        field = values.view([len(x) for x in self.axes])
        return [
            torch.movedim(torch.movedim(field, i, -1) @ D.T, -1, i).reshape(-1)
            for i, D in enumerate(self.differentiation)
        ]


def quadrature(box: Box, counts: Sequence[int], periodic: Sequence[int], *, shift: float = 0.0) -> Quadrature:
    """The tensor rule with so many points along each coordinate.

    Args:
        box: the domain.
        counts: points along each coordinate.
        periodic: columns of the periodic coordinates.
        shift: of the points along periodic coordinates, relative to their distance.
    """
    rules = [
        _rule(float(box.lower[i]), float(box.lengths[i]), count, shift if i in periodic else None)
        for i, count in enumerate(counts)
    ]
    points, weights = _product(rules)
    faces = {}
    for face in box.faces:
        column = box.names.index(face[0])
        if column not in periodic:
            end = torch.tensor([box.end(face)], dtype=torch.float64)
            rest = [(end, torch.ones_like(end)) if i == column else rule for i, rule in enumerate(rules)]
            faces[face] = _product(rest)
    return Quadrature(points, weights, faces, tuple(x for x, _ in rules), tuple(periodic))


def _rule(lower: float, length: float, count: int, shift: float | None) -> tuple[Tensor, Tensor]:
    if shift is not None:
        unit = (torch.arange(count, dtype=torch.float64) + shift) / count
        return lower + length * unit, torch.full_like(unit, length / count)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(lower + length * (nodes + 1.0) / 2.0), torch.from_numpy(weights * length / 2.0)


def _product(rules: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    points = torch.cartesian_prod(*(x for x, _ in rules)).reshape(-1, len(rules))
    weights: Any = torch.ones(1, dtype=torch.float64)
    for _, w in rules:
        weights = (weights[:, None] * w).reshape(-1)
    return points, weights


def _barycentric(x: Tensor) -> Tensor:
    """Differentiation matrix of polynomial interpolation at x, from barycentric weights (Berrut, Trefethen 2004)."""
    scaled = (x - x.mean()) / (x[-1] - x[0]) * 4.0  # capacity one: the products neither overflow nor underflow
    gaps = scaled[:, None] - scaled
    gaps.fill_diagonal_(1.0)
    w = torch.exp(-torch.log(gaps.abs()).sum(1)) * torch.sign(gaps).prod(1)
    D = (w / w[:, None]) / gaps
    D.fill_diagonal_(0.0)
    return (D - torch.diag(D.sum(1))) * (4.0 / (x[-1] - x[0]))


def _fourier(x: Tensor) -> Tensor:
    """Differentiation matrix of trigonometric interpolation at equidistant x of a whole period."""
    count = len(x)
    rate = 2.0 * np.pi / (float(x[1] - x[0]) * count)
    frequencies = torch.fft.fftfreq(count, 1.0 / count, dtype=torch.float64)
    if count % 2 == 0:
        frequencies[count // 2] = 0.0  # the highest one has no derivative among real functions
    spectrum = torch.fft.fft(torch.eye(count, dtype=torch.complex128), dim=0)
    return torch.fft.ifft(1j * rate * frequencies[:, None] * spectrum, dim=0).real

"""How good a solution is: errors against an exact one, and what it leaves of the equations and conditions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.jacobians import weighted
from grassvp.pde.assembly import Block
from grassvp.pde.collocation import Collocation
from grassvp.pde.domain import Box
from grassvp.pde.operators import values_of

__all__ = ["Accuracy", "Residuals", "accuracy", "collocation_of", "exact_values", "residuals"]


@dataclass(frozen=True)
class Accuracy:
    """Errors over some points.

    Attributes:
        relative_l2_error: ||u - exact|| / ||exact||, the root of the sum of squares over points and unknowns.
        max_error: the largest |u - exact|.
    """

    relative_l2_error: float
    max_error: float


@dataclass(frozen=True)
class Residuals:
    """What a solution leaves of the equations and conditions at points that it was not fitted to.

    Attributes:
        norms: root mean square of L u - source, or of B u - equals, by the name of the equation or condition.
        relative: root mean square over all rows in their balance, relative to that of the right-hand sides.
    """

    norms: Mapping[str, float]
    relative: float


def exact_values(exact: Any, box: Box, points: Tensor, outputs: int) -> Tensor:
    """The exact solution at points, (rows, outputs)."""
    parts = exact if isinstance(exact, tuple | list) else (exact,)
    if len(parts) != outputs:
        raise ArgumentError(f"exact must have one function for each of {outputs} unknowns, got {len(parts)}")
    return torch.stack([values_of(each, box, points, "exact") for each in parts], 1)


def accuracy(solution: Any, exact: Tensor, points: Tensor) -> Accuracy:
    """Errors of a solution at points (rows, d) where the exact one is known, (rows, outputs)."""
    u = torch.as_tensor(solution.predict(points), dtype=torch.float64).cpu()
    error = u.view(len(points), -1) - exact
    size = float(torch.linalg.vector_norm(exact))
    if size == 0.0:
        raise ArgumentError("exact is zero at all points: there is no relative error")
    return Accuracy(float(torch.linalg.vector_norm(error)) / size, float(error.abs().max()))


def collocation_of(solution: Any) -> Collocation:
    """The collocation that a solution comes from.

    Raises:
        ArgumentError: it does not come from `PDE.collocate`.
    """
    origin = getattr(getattr(solution, "problem", None), "origin", None)
    if not isinstance(origin, Collocation):
        raise ArgumentError("solution must come from a problem that PDE.collocate made")
    return origin.narrowed(solution.problem.features)


def residuals(solution: Any, collocation: Collocation) -> Residuals:
    """What a solution leaves at the points of a collocation."""
    theta, C = solution.parameters, solution.coefficients
    look_up = None
    if not collocation.equations.linear:
        look_up = collocation.field(collocation.interior, theta, C)
    blocks, problem = collocation.blocks(look_up), collocation.problem(look_up)
    with torch.no_grad():
        misfit = (problem.fitted(problem.features(theta, problem.inputs), C) - problem.targets)[:, 0]
    left = float(torch.linalg.vector_norm(weighted(misfit, problem.weights)))
    size = float(torch.linalg.vector_norm(problem.weighted_targets))
    return Residuals(_by_name(blocks, misfit), left / size if size > 0 else left)


def _by_name(blocks: list[Block], misfit: Tensor) -> dict[str, float]:
    """Root mean squares; blocks of the same name together."""
    squares: dict[str, list[Tensor]] = {}
    for block, part in zip(blocks, misfit.split([block.rows for block in blocks]), strict=True):
        squares.setdefault(block.name, []).append(part**2)
    return {name: math.sqrt(float(torch.cat(parts).mean())) for name, parts in squares.items()}

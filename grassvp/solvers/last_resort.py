"""What is tried before a run says that no step helps: the gradient itself, and the gradients of its other minimisers.

A model can be wrong about everything but the slope. Where features are nearly rank-deficient the Golub-Pereyra Jacobian
has columns of size 1 / sqrt(lam) for directions in which they gain rank: J^T J is as large there as the value's own
curvature is negative, and every step of the model is too short to be seen. Steps along the gradient do not know it.

Where features are rank-deficient, the minimiser C is one of many, C + Z B with Phi Z = 0, and each has a gradient
-DPhi^*[R (C + Z B)^T] along which the value falls. That of C alone, of minimum norm, says nothing of a neuron that
is zero everywhere, and little of one that repeats what others do.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from grassvp.solvers.protocols import LeastSquaresPoint, LeastSquaresProblem, attempt

__all__ = ["ROUNDINGS", "downhill"]

LONGEST = 0.1  # in units of the sizes of the parameters
FACTOR = 0.1
ROUNDINGS = 10.0
"""By how many of their roundings two values that are equal may differ."""


def downhill(problem: LeastSquaresProblem, point: LeastSquaresPoint) -> tuple[LeastSquaresPoint | None, int]:
    """A point of lower value along the gradient, and how many were looked at; None where rounding hides any."""
    evaluations = 0
    for direction in _directions(point):
        length, shortest = LONGEST, torch.finfo(direction.dtype).eps
        while length > shortest:
            ahead = point.parameters + length * direction
            trial = attempt(problem, ahead if point.bounds is None else point.bounds.clip(ahead))
            evaluations, length = evaluations + 1, length * FACTOR
            if trial is not None and _is_lower(trial, point):
                return trial, evaluations
    return None, evaluations


def _directions(point: LeastSquaresPoint) -> Iterator[Tensor]:
    """Downhill directions p with ||p / sizes|| = 1, by the sizes of the parameters and by their units."""
    sizes, units = point.parameters.abs(), point.units
    sizes = torch.where(sizes > 0, sizes, 1.0) if units is None else sizes + units
    for each in (sizes,) if units is None else (sizes, units):
        yield from _scaled(-point.projected_gradient, each)
    spare = point.spare_gradient(sizes)
    if spare is not None:
        for direction in _scaled(spare, sizes):
            yield from (direction, -direction)


def _scaled(slopes: Tensor, sizes: Tensor) -> Iterator[Tensor]:
    length = float(torch.linalg.vector_norm(sizes * slopes))
    if 0.0 < length < math.inf:
        yield sizes**2 * slopes / length


def _is_lower(trial: LeastSquaresPoint, point: LeastSquaresPoint) -> bool:
    """Whether the value fell by more than rounding may make of two equal ones."""
    fell = point.value - trial.value
    return fell > ROUNDINGS * (point.value_rounding + trial.value_rounding) and bool(
        torch.isfinite(trial.gradient).all()
    )

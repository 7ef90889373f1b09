"""Exact passes over the data: the whole problem's value and gradient at a theta that no longer moves."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.errors import NonFiniteError
from grassvp.projection.streaming import StreamingProjection
from grassvp.separable import SeparableProblem
from grassvp.streaming.batches import Batch
from grassvp.streaming.rows import LinearizedRows, weighted_rows

__all__ = ["Evaluation", "best_of", "with_gradient"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The whole problem at one theta, solved.

    Attributes:
        parameters: theta, (q,).
        value: 1/2 ||W (Phi C - Y)||^2 + lam/2 ||C||^2 of all rows, or an estimate where no pass was made.
        coefficients: C, (n, k).
        regularization: lam.
        rank: numerical rank of the weighted features.
        condition: condition number of the linear solve.
        gradient_norm: 2-norm of the gradient of the value; NaN as long as it is not known.
        size: ||W Y||, which the gradient is compared with.
    """

    parameters: Tensor
    value: float
    coefficients: Tensor
    regularization: float
    rank: int
    condition: float
    gradient_norm: float = math.nan
    size: float = math.nan


def best_of(
    problem: SeparableProblem,
    candidates: Sequence[Tensor],
    batches: Iterable[Batch],
    regularization: float | None,
) -> Evaluation | None:
    """The theta of lowest value, all of them solved in one pass; None where no features or no C are finite.

    Args:
        problem: features and shapes.
        candidates: parameter vectors (q,).
        batches: one pass over the data.
        regularization: lam, or None for the one that generalised cross-validation chooses for all rows.
    """
    empty = StreamingProjection.empty(problem.width, problem.outputs, device=problem.targets.device)
    sums: list[StreamingProjection | None] = [empty] * len(candidates)
    size = 0.0
    for batch in batches:
        sums = [
            None if sofar is None else _continued(problem, theta, sofar, batch)
            for theta, sofar in zip(candidates, sums, strict=True)
        ]
        targets = batch.targets if batch.weights is None else batch.weights[:, None] * batch.targets
        size = math.hypot(size, safe_norm(targets.flatten()))
    solved = [_solved(theta, total, regularization, size) for theta, total in zip(candidates, sums, strict=True)]
    return min((each for each in solved if each is not None), key=lambda each: each.value, default=None)


def with_gradient(problem: SeparableProblem, evaluation: Evaluation, batches: Iterable[Batch]) -> Evaluation:
    """The same with the norm of the gradient, the sum of the batches' -DPhi^*[W R C^T] at the C of all rows."""
    theta, C = evaluation.parameters, evaluation.coefficients
    gradient = torch.zeros(theta.numel(), dtype=torch.float64, device=theta.device)
    for batch in batches:
        gradient += LinearizedRows.at(problem, theta, batch).gradient(C)
    return replace(evaluation, gradient_norm=safe_norm(gradient))


def _continued(
    problem: SeparableProblem, theta: Tensor, sofar: StreamingProjection, batch: Batch
) -> StreamingProjection | None:
    try:
        return sofar.updated(*weighted_rows(problem, theta, batch))
    except NonFiniteError:
        return None


def _solved(
    theta: Tensor, total: StreamingProjection | None, regularization: float | None, size: float
) -> Evaluation | None:
    if total is None:
        return None
    lam = total.gcv_regularization() if regularization is None else regularization
    try:
        solved = total.projection(lam)
    except NonFiniteError:
        return None
    value = solved.value + 0.5 * total.residual_square
    return Evaluation(theta, value, solved.coefficients, lam, solved.rank, solved.condition, size=size)

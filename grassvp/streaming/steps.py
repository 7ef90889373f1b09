"""Steps of theta, one for each batch: what they have in common, and Gauss-Newton steps with a memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.projection import Projection
from grassvp.projection.streaming import Absorption, StreamingProjection
from grassvp.separable import SeparableProblem
from grassvp.solvers.compression import Compressed
from grassvp.solvers.models import LeastSquaresModel
from grassvp.solvers.scaling import column_scale
from grassvp.solvers.searches import GainRatioDamping
from grassvp.streaming.batches import Batch
from grassvp.streaming.memory import Memory
from grassvp.streaming.rows import LinearizedRows, weighted_rows

__all__ = ["TRIALS", "Choice", "GaussNewtonSteps", "Met", "Steps"]

TRIALS = 10  # of the damping or the learning rate for one batch, before the batch moves nothing

Choice = Callable[[StreamingProjection, LinearizedRows], float]
"""Lam for a batch, given the projection of the rows so far, those of the batch among them."""


class Steps(Protocol):
    """Steps of theta, one for each batch.

    Attributes:
        parameters: theta, (q,).
        projection: what is remembered of the rows so far.
        regularization: lam of the last batch.
        damping: damping or learning rate of the next step.
        solves: linear solves so far.
    """

    @property
    def parameters(self) -> Tensor: ...  # noqa: D102
    @property
    def projection(self) -> StreamingProjection: ...  # noqa: D102
    @property
    def damping(self) -> float: ...  # noqa: D102

    regularization: float
    solves: int

    def step(self, batch: Batch) -> float:
        """Move theta; returns ||W (Y - Phi C)||^2 of the batch as it was before.

        Raises:
            NonFiniteError: the features are not finite, even where the last step began.
        """
        ...


@dataclass(frozen=True, eq=False)
class Met:
    """A batch at one theta, taken into the projection and solved.

    Attributes:
        rows: the batch.
        absorption: how the projection took it in.
        solved: the linear solve, in the small matrix of the projection.
    """

    rows: LinearizedRows
    absorption: Absorption
    solved: Projection

    @staticmethod
    def at(
        problem: SeparableProblem,
        theta: Tensor,
        batch: Batch,
        before: StreamingProjection,
        forgetting: float,
        choose: Choice,
    ) -> "Met":
        """The batch at theta, on top of the projection `before`, solved with the lam of `choose`."""
        rows = LinearizedRows.at(problem, theta, batch)
        absorption = before.absorbed(rows.values, rows.targets, forgetting=forgetting)
        return Met(rows, absorption, absorption.projection.projection(choose(absorption.projection, rows)))


class GaussNewtonSteps:
    """Damped Gauss-Newton steps of the model that a `Memory` makes of all batches so far.

    The damping follows the gain ratio (Nielsen 1999) in the norm of the model's columns. Of the actual reduction only
    the latest batch is evaluated again: it is the predicted one less what the batch's misfit at theta + p, with the C
    that the model gives there, exceeds that of its linearisation. A step that fails is shortened by more damping.
    """

    def __init__(
        self, problem: SeparableProblem, parameters: Tensor, forgetting: float, choose: Choice, rate: float = 1.0
    ) -> None:
        """Steps from `parameters`, each taken `rate` times as long as the model says."""
        self._problem, self._forgetting, self._choose, self._rate = problem, forgetting, choose, rate
        self._search, self._control = GainRatioDamping(), GainRatioDamping().start()
        self._memory = Memory.empty(problem.width, problem.outputs, parameters)
        self._last: Tensor | None = None
        self.parameters, self.regularization, self.solves = parameters.clone(), math.nan, 0

    @property
    def projection(self) -> StreamingProjection:
        """See `Steps`."""
        return self._memory.projection

    @property
    def damping(self) -> float:
        """See `Steps`."""
        return self._control.level

    def step(self, batch: Batch) -> float:
        """See `Steps`."""
        try:
            met, memory = self._meet(batch)
        except NonFiniteError:
            if self._last is None:
                raise
            self._move(-self._last)  # back to where the last step began
            self._last = None
            met, memory = self._meet(batch)
        self._memory, self.regularization = memory, met.solved.regularization
        self._last = self._proposed(met, batch)
        if self._last is not None:
            self._move(self._last)
        return float(torch.sum(met.rows.residual(met.solved.coefficients) ** 2))

    def _meet(self, batch: Batch) -> tuple[Met, Memory]:
        self.solves += 1
        before = self._memory.projection
        met = Met.at(self._problem, self.parameters, batch, before, self._forgetting, self._choose)
        return met, self._memory.with_rows(met.rows, met.absorption, met.solved.coefficients)

    def _move(self, step: Tensor) -> None:
        self._memory, self.parameters = self._memory.moved(step), self.parameters + step

    def _proposed(self, met: Met, batch: Batch) -> Tensor | None:
        """The step p; None where none of the trials was acceptable, after which the damping is what it was."""
        T, t = self._memory.model(met.solved)
        scale = column_scale(torch.linalg.vector_norm(T, dim=0), None, None)
        model = LeastSquaresModel(None, Compressed(T * scale.inverse, t), scale)  # pyright: ignore[reportArgumentType]
        control = self._control
        for _ in range(TRIALS):
            step, control = self._search.propose(model, control)
            step = step.scaled(self._rate)
            p = step.vector.to(self.parameters.dtype)
            reduction = step.predicted_reduction - self._surprise(met, batch, p)
            accepted, control = self._search.judge(step, reduction, control)
            if accepted:
                self._control = control
                return p
        return None

    def _surprise(self, met: Met, batch: Batch, step: Tensor) -> float:
        """By how much the batch's misfit at theta + p exceeds that of its linearisation, for the same C."""
        C = self._memory.coefficients(met.solved, step)
        values, targets = weighted_rows(self._problem, self.parameters + step, batch)
        linear = met.rows.residual(C) - met.rows.slope(step, met.solved.coefficients)
        return 0.5 * float(torch.sum((targets - values @ C) ** 2) - torch.sum(linear**2))

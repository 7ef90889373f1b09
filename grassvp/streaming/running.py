"""The loop over epochs: steps for each batch, exact values in between, and the best theta at the end."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grassvp.callbacks import wants_stop
from grassvp.errors import NonFiniteError
from grassvp.solvers import Callback, IterationRecord, Solution, Status, columns
from grassvp.streaming.batches import BatchStream
from grassvp.streaming.evaluation import Evaluation, best_of, with_gradient
from grassvp.streaming.steps import Steps

__all__ = ["EVALUATE", "Limits", "Run"]

EVALUATE = ("epoch", "end", "never")


@dataclass(frozen=True)
class Limits:
    """What ends a run.

    Attributes:
        epochs: passes with steps at most.
        seconds: since `begin`, or None.
        tolerance: of the gradient norm relative to ||W Y||^2; None for 4 eps, tested at the end only.
        begin: when the run began.
    """

    epochs: int
    seconds: float | None
    tolerance: float | None
    begin: float

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.begin

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and self.elapsed >= self.seconds

    def holds(self, point: Evaluation) -> bool:
        """Whether the gradient test holds; a gradient that is not known does not pass."""
        tolerance = 4 * torch.finfo(point.parameters.dtype).eps if self.tolerance is None else self.tolerance
        return point.gradient_norm <= tolerance * point.size**2


class Run:
    """One solve, with what it has found so far, so that an interrupt loses nothing."""

    def __init__(
        self,
        stream: BatchStream,
        steps: Steps,
        limits: Limits,
        evaluate: str,
        regularization: float | None,
        callbacks: Sequence[Callback],
    ) -> None:
        """Prepare the run; `regularization` is lam of all rows, None where cross-validation chooses it."""
        self._stream, self._steps, self._limits, self._lam = stream, steps, limits, regularization
        self._evaluate, self._callbacks = evaluate, callbacks
        self._best: Evaluation | None = None
        self._records: list[IterationRecord] = []
        self._epochs = self._exact = 0
        self._misfit = math.nan
        self._last = self._mean = steps.parameters

    def solution(self, method: str, choice: str) -> Solution:
        """Run to the end."""
        try:
            status = self._train()
            status, point = self._finish(status)
        except KeyboardInterrupt:
            status, point = Status.INTERRUPTED, self._at_hand()
        problem = self._stream.problem
        return Solution(
            status=status,
            parameters=point.parameters,
            coefficients=point.coefficients.to(problem.targets.dtype),
            value=point.value,
            gradient_norm=point.gradient_norm,
            rank=point.rank,
            iterations=self._epochs,
            elapsed=self._limits.elapsed,
            history=columns(self._records),
            regularization=point.regularization,
            method=method,
            choice=f"QR of the rows of each batch on top of a triangle that remembers the earlier ones, {choice}",
            predictor=problem.predict,
        )

    def _train(self) -> Status:
        """Epochs until there is a reason to stop."""
        if self._evaluate == "epoch":
            status = self._met([self._steps.parameters], 0)
            if status is not None:
                return status
        for epoch in range(self._limits.epochs):
            status = self._epoch(epoch)
            self._epochs = epoch + 1
            met = self._met([self._steps.parameters, self._mean], epoch)
            status = status or met
            if status is not None:
                return status
        return Status.MAX_ITERATIONS

    def _epoch(self, epoch: int) -> Status | None:
        """One step for each batch; keeps the mean of theta and the misfit as it was met."""
        self._last = self._steps.parameters
        total, misfit, seen, self._misfit = torch.zeros_like(self._last), 0.0, 0, math.nan
        for count, batch in enumerate(self._stream.visit(epoch), start=1):
            try:
                misfit += self._steps.step(batch)
            except NonFiniteError:
                return Status.NON_FINITE
            seen += batch.targets.shape[0]
            total += self._steps.parameters
            self._mean, self._misfit = total / count, misfit / seen
            if self._limits.late:
                return Status.MAX_TIME
        return Status.STALLED if torch.equal(self._steps.parameters, self._last) else None

    def _met(self, candidates: list[Tensor], epoch: int) -> Status | None:
        """Evaluate where that is asked for, record, and say whether to stop."""
        point = self._exactly(candidates, epoch) if self._evaluate == "epoch" else None
        if point is not None and self._limits.tolerance is not None:
            point = with_gradient(self._stream.problem, point, self._stream.visit(epoch))
        converged = point is not None and self._limits.holds(point)
        if point is not None and (self._best is None or converged or point.value <= self._best.value):
            self._best = point
        if self._evaluate == "epoch" and self._best is None:
            return Status.NON_FINITE
        self._records.append(self._record(point))
        record = replace(self._records[-1], parameters=self._steps.parameters if point is None else point.parameters)
        stop = wants_stop(self._callbacks, record)
        return Status.CONVERGED if converged else Status.STOPPED if stop else None

    def _exactly(self, candidates: list[Tensor], epoch: int) -> Evaluation | None:
        self._exact += len(candidates)
        return best_of(self._stream.problem, candidates, self._stream.visit(epoch), self._lam)

    def _finish(self, status: Status) -> tuple[Status, Evaluation]:
        """The best theta with its exact value and gradient, and the status that goes with them."""
        last = max(self._epochs - 1, 0)
        if self._evaluate == "end":
            self._best = self._exactly([self._steps.parameters, self._mean], last)
        point = self._best
        if point is None:
            return Status.NON_FINITE if self._evaluate != "never" else status, self._estimate()
        if math.isnan(point.gradient_norm):
            point = self._best = with_gradient(self._stream.problem, point, self._stream.visit(last))
        if status in (Status.MAX_ITERATIONS, Status.MAX_TIME, Status.STALLED) and self._limits.holds(point):
            status = Status.CONVERGED
        return status, point

    def _at_hand(self) -> Evaluation:
        """The best that is known without another pass: the best exact value, or what the memory gives now."""
        now = self._estimate()
        return now if self._best is None or now.value < self._best.value else self._best

    def _estimate(self) -> Evaluation:
        """What the memory says of theta, C and the value, without another pass."""
        steps, problem = self._steps, self._stream.problem
        if math.isnan(steps.regularization):  # no batch was met
            nothing = problem.targets.new_full((problem.width, problem.outputs), math.nan)
            return Evaluation(steps.parameters, math.nan, nothing, self._whole_regularization, 0, math.nan)
        solved = steps.projection.projection(steps.regularization)
        lam = self._whole_regularization
        value = 0.5 * self._misfit * self._stream.rows + 0.5 * lam * float(torch.sum(solved.coefficients**2))
        return Evaluation(steps.parameters, value, solved.coefficients, lam, solved.rank, solved.condition)

    @property
    def _whole_regularization(self) -> float:
        """Lam of all rows: the given one, or what corresponds to the last one of the remembered rows."""
        if self._lam is not None:
            return self._lam
        return self._steps.regularization * self._stream.rows / max(self._steps.projection.rows, 1.0)

    def _record(self, point: Evaluation | None) -> IterationRecord:
        steps, rows = self._steps, self._stream.rows
        theta = steps.parameters
        return IterationRecord(
            iteration=self._epochs,
            value=0.5 * self._misfit * rows if point is None else point.value,
            gradient_norm=math.nan if point is None else point.gradient_norm,
            step_norm=float(torch.linalg.vector_norm(theta - self._last)),
            damping=steps.damping,
            rank=math.nan if point is None else point.rank,
            condition=math.nan if point is None else point.condition,
            distance=math.nan,
            seconds=self._limits.elapsed,
            evaluations=steps.solves + self._exact,
            regularization=self._whole_regularization if point is None else point.regularization,
            parameters=theta[:0],
        )

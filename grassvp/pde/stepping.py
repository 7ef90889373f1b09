"""The loop of a march: steps, their estimates, and spans that are trained where those ask for it."""

import math
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.callbacks import wants_stop
from grassvp.errors import NonFiniteError
from grassvp.pde.datum import Datum
from grassvp.pde.integrators import Integrator
from grassvp.pde.span import Span
from grassvp.pde.spans import SpanSearch, Stage
from grassvp.pde.trajectory import MarchStatus, StepRecord, Trajectory, columns

__all__ = ["March", "Plan"]

STEPS = 20  # where no step is given, at least
SMALLEST = 1e-9  # step that step control may take, relative to the interval
AHEAD = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the interval: where a span is to serve too if the equation is driven in time
PATIENCE = 1.3  # factor by which what the residual makes must grow past what the last training left before the next one
GAIN = 0.8  # of what the residual makes that a trained span must reach to be taken up
ROUNDINGS = 8.0  # relative error of a step, in units of rounding, that step control does not ask to go below


@dataclass(frozen=True, eq=False)
class Plan:
    """What a march is asked to do.

    Attributes:
        until: last time.
        count: number of equal steps, or None where they are controlled.
        tolerance: of the estimated relative error.
        integrator: that takes the steps.
        iterations: of a training, 0 for none.
        exact: the solution, or None.
        callbacks: that see each record.
    """

    until: float
    count: int | None
    tolerance: float
    integrator: Integrator
    iterations: int
    exact: Datum | None
    callbacks: Sequence[Any]


class March:
    """A march on its way."""

    def __init__(self, search: SpanSearch, plan: Plan) -> None:
        self.search, self.plan = search, plan
        self.steady = search.forcing.steady
        self.controlled = plan.count is None and not (self.steady and plan.integrator.exact_if_steady)
        self.count = plan.count or STEPS
        self.step = plan.until / self.count
        self.began = clock.perf_counter()
        self.step_seconds = self.search_seconds = 0.0
        self.records: list[StepRecord] = []
        self.stages: list[Stage] = []
        self.spans: list[Span] = []
        self.span_times: list[float] = []
        self.trigger = plan.tolerance
        self.largest = 0.0
        self.interrupted = False

    def begin(self) -> None:
        """Find the first span: random features, trained where those do not reach the tolerance."""
        stage = self.search.random()
        if self.plan.iterations and self._total(stage) > self.plan.tolerance:
            try:
                trained = self._trained(stage)
                if trained is not None and self._total(trained) < self._total(stage):
                    stage = trained
            except KeyboardInterrupt:
                self.interrupted = True
            self.trigger = max(self.plan.tolerance, PATIENCE * self._prospect(stage))
        self.search_seconds = clock.perf_counter() - self.began
        self.spans, self.span_times = [stage.galerkin.span], [0.0]
        self._arrive(stage, 0.0, 0.0)

    def finish(self) -> Trajectory:
        """March to the end, or as far as it goes."""
        try:
            status = MarchStatus.INTERRUPTED if self.interrupted else self._loop()
        except KeyboardInterrupt:
            status = MarchStatus.INTERRUPTED
        except NonFiniteError:
            status = MarchStatus.NON_FINITE
        return Trajectory(
            heat=self.search.heat,
            status=status,
            history=columns(self.records),
            spans=tuple(self.spans),
            span_times=np.array(self.span_times),
            step_seconds=self.step_seconds,
            search_seconds=self.search_seconds,
            tolerance=self.plan.tolerance,
            integrator=self.plan.integrator,
            _stages=tuple(self.stages),
        )

    def _loop(self) -> MarchStatus:
        if wants_stop(self.plan.callbacks, self.records[-1]):
            return MarchStatus.STOPPED
        while self.records[-1].time < self.plan.until:
            stage, distance = self.stages[-1], 0.0
            after = self._next(stage)
            if self.plan.iterations and self._prospect(after) > self.trigger:
                moved = self._moved(stage, after)
                if moved is not None:
                    (self.stages[-1], after), distance = moved, moved[0].galerkin.span.distance(self.spans[-1])
                    self.spans.append(after.galerkin.span)
                    self.span_times.append(stage.time)
                self.trigger = max(self.plan.tolerance, PATIENCE * self._prospect(after))
            self._arrive(after, after.time - stage.time, distance)
            if wants_stop(self.plan.callbacks, self.records[-1]):
                return MarchStatus.STOPPED
        worst = max(record.estimate for record in self.records)
        return MarchStatus.REACHED if worst <= self.plan.tolerance else MarchStatus.INACCURATE

    def _next(self, stage: Stage) -> Stage:
        """The stage after a step; the clock of the steps leaves the estimate out."""
        begin = clock.perf_counter()
        state, time = self._controlled(stage) if self.controlled else self._even(stage)
        self.step_seconds += clock.perf_counter() - begin
        return stage.arrived(state, time)

    def _even(self, stage: Stage) -> tuple[Tensor, float]:
        """The next of equal steps; the last one ends at the end exactly."""
        index = len(self.stages)
        end = self.plan.until if index == self.count else index * self.step
        return stage.galerkin.advance(stage.state, stage.time, end - stage.time, self.plan.integrator), end

    def _controlled(self, stage: Stage) -> tuple[Tensor, float]:
        """Two half steps, as long as they differ from a whole one by no more than their share of the tolerance."""
        method, until, time = self.plan.integrator, self.plan.until, stage.time
        advance, gain = stage.galerkin.advance, 2.0**method.order - 1.0
        while True:
            step = min(self.step, until - time)
            whole, half = (advance(stage.state, time, h, method) for h in (step, step / 2))
            fine = advance(half, time + step / 2, step / 2, method)
            error = float(torch.linalg.vector_norm(fine - whole)) / gain
            size = float(torch.linalg.vector_norm(fine))
            allowed = max(self.plan.tolerance * step / until, ROUNDINGS * np.finfo(float).eps) * size
            if error <= allowed or step <= SMALLEST * until:
                if error * 2.0 ** (method.order + 2) < allowed:
                    self.step = min(2.0 * self.step, until / STEPS)
                return fine, until if time + step > until * (1.0 - 1e-12) else time + step
            self.step = step / 2

    def _moved(self, stage: Stage, after: Stage) -> tuple[Stage, Stage] | None:
        """The state in a trained span before and after the step, None where that is no better."""
        begin = clock.perf_counter()
        try:
            trained = self._trained(stage)
            if trained is None:
                return None
            again = trained.advanced(after.time, self.plan.integrator)
            kept, taken = self._estimate(stage), self._estimate(trained)
            better = taken + self._prospect(again) < kept + GAIN * self._prospect(after)
            return (trained, again) if better else None
        finally:
            self.search_seconds += clock.perf_counter() - begin

    def _trained(self, stage: Stage) -> Stage | None:
        times = [stage.time + part * self.plan.until for part in AHEAD]
        ahead = [] if self.steady else [each for each in times if each < self.plan.until]
        return self.search.trained(stage, ahead, self.plan.integrator, self.plan.iterations)

    def _estimate(self, stage: Stage) -> float:
        """Estimated error, relative to the solution."""
        return stage.error_norm / self._size(stage)

    def _prospect(self, stage: Stage) -> float:
        """What the residual of a stage makes until the end, relative to the solution."""
        return self.search.prospect(stage) / self._size(stage)

    def _total(self, stage: Stage) -> float:
        return self._estimate(stage) + self._prospect(stage)

    def _size(self, stage: Stage) -> float:
        """Norm of the solution; where that is zero, of what its first step makes of it."""
        size = 1e-8 * self.largest
        if self.largest == 0.0:
            size = self.step * float(torch.linalg.vector_norm(stage.galerkin.rate(stage.state, stage.time)))
        return max(stage.norm, size, 1e-300)

    def _arrive(self, stage: Stage, step: float, distance: float) -> None:
        galerkin, time = stage.galerkin, stage.time
        norm, error = stage.norm, math.nan
        if not math.isfinite(norm):
            raise NonFiniteError(f"the norm of the solution overflows at time {time:g}")
        self.largest = max(self.largest, norm)
        if self.plan.exact is not None:
            grid = galerkin.checked.grid
            truth = self.plan.exact(grid.points, time)
            error = galerkin.missed(truth, stage.state, time) / max(grid.norm(truth), 1e-300)
        self.stages.append(stage)
        self.records.append(
            StepRecord(
                index=len(self.records),
                time=time,
                step=step,
                norm=norm,
                estimate=self._estimate(stage),
                error=error,
                residual=stage.residual,
                rank=galerkin.rank,
                span=len(self.spans) - 1,
                distance=distance,
                seconds=clock.perf_counter() - self.began,
            )
        )

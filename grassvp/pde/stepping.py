"""The loop of a march: steps, their estimates, and spans that are trained where those ask for it."""

import math
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

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
AHEAD = (0.02, 0.04, 0.06, 0.08, 0.1)  # of the interval: where a span is to serve too if the equation is driven in time
PATIENCE = 2.0  # factor by which the estimate must grow past what the last training reached before the next one
GAIN = 0.5  # of the estimate that a trained span must reach to be taken up
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
        if self.plan.iterations and self._error(stage, 0.0) > self.plan.tolerance:
            try:
                trained = self._trained(stage, 0.0)
                if trained is not None and self._error(trained, 0.0) < self._error(stage, 0.0):
                    stage = trained
            except KeyboardInterrupt:
                self.interrupted = True
            self.trigger = max(self.plan.tolerance, PATIENCE * self._error(stage, 0.0))
        self.search_seconds = clock.perf_counter() - self.began
        self.spans, self.span_times = [stage.galerkin.span], [0.0]
        self._arrive(stage, 0.0, 0.0, 0.0)

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
            time, stage = self.records[-1].time, self.stages[-1]
            after, step = self._timed(stage, time)
            distance = 0.0
            if self.plan.iterations and self._error(after, time + step) > self.trigger:
                moved = self._moved(stage, after, time, step)
                if moved is not None:
                    (self.stages[-1], after), distance = moved, moved[0].galerkin.span.distance(self.spans[-1])
                    self.spans.append(after.galerkin.span)
                    self.span_times.append(time)
                self.trigger = max(self.plan.tolerance, PATIENCE * self._error(after, time + step))
            self._arrive(after, self._end(time, step), step, distance)
            if wants_stop(self.plan.callbacks, self.records[-1]):
                return MarchStatus.STOPPED
        worst = max(record.estimate for record in self.records)
        return MarchStatus.REACHED if worst <= self.plan.tolerance else MarchStatus.INACCURATE

    def _timed(self, stage: Stage, time: float) -> tuple[Stage, float]:
        begin = clock.perf_counter()
        if self.controlled:
            result = self._controlled(stage, time)
        else:
            result = stage.advanced(time, self.step, self.plan.integrator), self.step
        self.step_seconds += clock.perf_counter() - begin
        return result

    def _controlled(self, stage: Stage, time: float) -> tuple[Stage, float]:
        """Two half steps, as long as they differ from a whole one by no more than their share of the tolerance."""
        gain = 2.0**self.plan.integrator.order - 1.0
        while True:
            step = min(self.step, self.plan.until - time)
            whole = stage.advanced(time, step, self.plan.integrator)
            half = stage.advanced(time, step / 2, self.plan.integrator)
            fine = half.galerkin.advance(half.state, time + step / 2, step / 2, self.plan.integrator)
            error = float(torch.linalg.vector_norm(fine - whole.state)) / gain
            size = float(torch.linalg.vector_norm(fine))
            allowed = max(self.plan.tolerance * step / self.plan.until, ROUNDINGS * np.finfo(float).eps) * size
            if error <= allowed or step <= SMALLEST * self.plan.until:
                if error * 2.0 ** (self.plan.integrator.order + 2) < allowed:
                    self.step = min(2.0 * self.step, self.plan.until / STEPS)
                return replace(whole, state=fine, _estimates={}), step
            self.step = step / 2

    def _moved(self, stage: Stage, after: Stage, time: float, step: float) -> tuple[Stage, Stage] | None:
        """The state in a trained span before and after the step, None where that is no better."""
        begin = clock.perf_counter()
        try:
            trained = self._trained(stage, time)
            if trained is None:
                return None
            again = trained.advanced(time, step, self.plan.integrator)
            better = self._error(again, time + step) < GAIN * self._error(after, time + step)
            return (trained, again) if better else None
        finally:
            self.search_seconds += clock.perf_counter() - begin

    def _trained(self, stage: Stage, time: float) -> Stage | None:
        times = [time + part * self.plan.until for part in AHEAD]
        ahead = [] if self.steady else [each for each in times if each < self.plan.until]
        return self.search.trained(stage, time, ahead, self.plan.integrator, self.plan.iterations)

    def _error(self, stage: Stage, time: float) -> float:
        """Estimated relative error; a solution that starts from zero is compared to what its first step makes of it."""
        size = 1e-8 * self.largest
        if self.largest == 0.0:
            size = self.step * float(torch.linalg.vector_norm(stage.galerkin.rate(stage.state, time)))
        return stage.relative_error(time, size)

    def _end(self, time: float, step: float) -> float:
        """The time after a step; the last one is exact."""
        if not self.controlled:
            index = len(self.stages)
            return self.plan.until if index == self.count else index * self.step
        return self.plan.until if time + step > self.plan.until * (1.0 - 1e-12) else time + step

    def _arrive(self, stage: Stage, time: float, step: float, distance: float) -> None:
        galerkin = stage.galerkin
        norm, error = galerkin.norm(stage.state, time), math.nan
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
                estimate=self._error(stage, time),
                error=error,
                residual=stage.estimate(time).residual,
                rank=galerkin.rank,
                span=len(self.spans) - 1,
                distance=distance,
                seconds=clock.perf_counter() - self.began,
            )
        )

"""The iterates of a run: recorded, shown to callbacks, and asked whether to stop."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from grassvp.callbacks import wants_stop
from grassvp.riemannian.evaluator import Evaluator, Stop
from grassvp.riemannian.memo import content
from grassvp.riemannian.result import RiemannianRecord
from grassvp.solvers.status import Status
from grassvp.solvers.stopping import StoppingRule

__all__ = ["Callback", "Recorder"]

PATIENCE = 30  # iterates that improve neither value nor gradient after which a run counts as stalled

Callback = Callable[[RiemannianRecord], Any]


class Recorder:
    """Takes each iterate as an optimizer reaches it.

    Args:
        evaluator: of the problem.
        rule: when to stop.
        callbacks: called with each record; one that returns True stops the run.
        rounding: rounding error of a value.
        begin: `time.perf_counter()` that seconds count from.

    Attributes:
        records: one an iterate, without points.
        last: copy of the last iterate, None before the first.
        best: copy of the best one; of two values that rounding cannot tell apart the later counts.
        polishing: whether the finish is running.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        rule: StoppingRule,
        callbacks: Sequence[Callback],
        rounding: Callable[[float], float],
        begin: float,
    ) -> None:
        self.evaluator, self.rule, self.rounding = evaluator, rule, rounding
        self._callbacks, self._begin = callbacks, begin
        self.records: list[RiemannianRecord] = []
        self.last: Any = None
        self.best: Any = None
        self.best_record: RiemannianRecord | None = None
        self.polishing = False
        self._idle, self._least_gradient = 0, math.inf

    def visit(self, point: Any) -> bool:
        """Record `point` unless it is the last iterate again, and stop the run where that is due; whether it is new."""
        if self.last is not None and content(point) == content(self.last):
            return False
        record = self._record(point)
        self.records.append(record.without_point())
        self.evaluator.started = True
        self.last = record.point
        self._idle = 0 if self._improves(record) else self._idle + 1
        if self.best is None or record.value <= self.best_value + self._slack:
            self.best, self.best_record = record.point, record.without_point()
        self._least_gradient = min(self._least_gradient, record.gradient_norm)
        status = self.rule.check(record)  # pyright: ignore[reportArgumentType] - it looks at fields both records have
        if wants_stop(self._callbacks, record) and status is None:
            status = Status.STOPPED
        if status is None and self._idle >= PATIENCE:
            status = Status.STALLED
        if status is not None:
            raise Stop(status)
        return True

    @property
    def last_gradient_norm(self) -> float:
        """Gradient norm of the last iterate, infinite before the first."""
        return self.records[-1].gradient_norm if self.records else math.inf

    @property
    def best_value(self) -> float:
        """The least value so far, infinite before the first iterate."""
        return math.inf if self.best_record is None else self.best_record.value

    @property
    def _slack(self) -> float:
        return self.rounding(self.best_value) if math.isfinite(self.best_value) else 0.0

    def _improves(self, record: RiemannianRecord) -> bool:
        return record.value < self.best_value - self._slack or record.gradient_norm < 0.99 * self._least_gradient

    def _record(self, point: Any) -> RiemannianRecord:
        evaluator = self.evaluator
        value = evaluator.value(point)
        gradient_norm = evaluator.gradient_norm(point) if math.isfinite(value) else math.nan
        counts = evaluator.counts
        return RiemannianRecord(
            iteration=len(self.records),
            value=value,
            gradient_norm=gradient_norm,
            distance=0.0 if self.last is None else self._distance(self.last, point),
            seconds=time.perf_counter() - self._begin,
            evaluations=sum(counts.values()),
            cost_evaluations=counts["cost"],
            gradient_evaluations=counts["gradient"],
            hessian_evaluations=counts["hessian"],
            polish=self.polishing,
            point=copy.deepcopy(point),
        )

    def _distance(self, first: Any, second: Any) -> float:
        try:
            return float(np.real(self.evaluator.manifold.dist(first, second)))
        except (NotImplementedError, ValueError):
            return math.nan

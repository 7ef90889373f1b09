"""The one loop behind every method: take an iterate, record it, tell the callbacks, ask whether to stop."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.callbacks import wants_stop
from grassvp.solvers.history import IterationRecord
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, Method
from grassvp.solvers.status import Status
from grassvp.solvers.stopping import StoppingRule

__all__ = ["STUCK", "Callback", "Outcome", "Run", "minimize"]

Callback = Callable[[IterationRecord], Any]

ENDS = (Status.STALLED, Status.DAMPED_OUT, Status.RANK_DEFICIENT, Status.MAX_ITERATIONS, Status.MAX_TIME)
STUCK = (Status.STALLED, Status.DAMPED_OUT, Status.RANK_DEFICIENT, Status.NON_FINITE)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its best iterate (None where the start is not finite), why it ended, and every record.

    `stopped` says whether a callback asked to stop; where the run ended at that record anyway, the status does not say.
    """

    point: LeastSquaresPoint | None
    status: Status
    records: list[IterationRecord]
    stopped: bool = False


class Run:
    """One method from one start, advanced as far as asked; it can be left and taken up again."""

    def __init__(
        self,
        problem: LeastSquaresProblem,
        method: Method,
        start: Tensor,
        rule: StoppingRule,
        begin: float | None = None,
    ) -> None:
        """Prepare the run; its seconds count from `begin`, by default from now."""
        self._problem, self._steps, self._rule = problem, method.iterate(problem, start), rule
        self._begin = time.perf_counter() if begin is None else begin
        self._last: LeastSquaresPoint | None = None
        self._best: LeastSquaresPoint | None = None
        self.records: list[IterationRecord] = []
        self.status: Status | None = None
        self.stopped = False

    @property
    def value(self) -> float:
        """Lowest value so far; infinite before the first iterate."""
        return math.inf if self._best is None else self._best.value

    @property
    def outcome(self) -> Outcome:
        """The run as it stands."""
        point = self._last if self.status is Status.CONVERGED else self._best  # the gradient test holds at the last one
        return Outcome(point, self.status or Status.INTERRUPTED, self.records, self.stopped)

    def advance(self, iteration: float = math.inf, callbacks: Sequence[Callback] | None = None) -> None:
        """Go on until the run ends, or until its record number `iteration` is there.

        Without `callbacks` the records keep the parameters, so that they can be replayed.
        """
        while self.status is None and len(self.records) <= iteration:
            try:
                iterate = next(self._steps)
            except StopIteration as end:
                self.status = self._ended(end.value)
                return
            record = _record(iterate, self._last, len(self.records), time.perf_counter() - self._begin)
            # Parameters are kept only for a replay: a long run would hold as many copies of theta as it has iterates.
            self.records.append(record if callbacks is None else record.without_parameters())
            self._last = iterate.point
            # Of two points that rounding cannot tell apart the later one counts: methods go on to lower the gradient.
            if iterate.by_gradient or self._best is None or iterate.point.value <= self._best.value:
                self._best = iterate.point
            status = self._rule.check(record)
            self.status = None if status is None else self._ended(status)
            if callbacks is not None and wants_stop(callbacks, record):
                self.status, self.stopped = self.status or Status.STOPPED, True

    def _ended(self, status: Status) -> Status:
        """CONVERGED where the gradient test holds at the last iterate, whatever ended the run."""
        holds = status in ENDS and bool(self.records) and self._rule.converged(self.records[-1])
        return Status.CONVERGED if holds else status

    def replay(self, callbacks: Sequence[Callback]) -> int | None:
        """Show the records so far to callbacks that did not see them; at which one they stop the run, if they do."""
        for count, record in enumerate(self.records, start=1):
            at_the_end = self.status is not None and count == len(self.records)
            if wants_stop(callbacks, record):
                if not at_the_end:
                    return count
                self.stopped = True
        self.records = [record.without_parameters() for record in self.records]
        return None

    def cut(self, count: int) -> None:
        """Go back to the first `count` records, which must still have their parameters."""
        self.records = self.records[:count]
        best = min(self.records, key=lambda record: record.value, default=None)
        self._best = None if best is None else self._problem.linearize(best.parameters)


def minimize(runs: Sequence[Run], callbacks: Sequence[Callback] = (), *, rounds: Sequence[int] = (15, 50)) -> Outcome:
    """The best of several runs: successive halving picks one, and if that gets stuck the others get their turn.

    After each of `rounds` iterations the better half of the runs, by value, goes on; the last of them runs to its end.
    If no step helps it any further although it has not converged, the others are taken up again, best first. Callbacks
    see the records of each run that is taken to its end. Ctrl-C keeps the best iterate so far.

    Source: K. Jamieson, A. Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016.
    """
    try:
        finished: list[Run] = []
        for run in _ranked(_halve(runs, rounds), runs):
            count = run.replay(callbacks)
            if count is not None:
                return _stopped(runs, finished, count)
            run.advance(callbacks=callbacks)
            finished.append(run)
            if run.status not in STUCK or run.stopped:
                break
        return replace(min(finished, key=lambda run: run.value).outcome, stopped=finished[-1].stopped)
    except KeyboardInterrupt:
        best = min(runs, key=lambda run: run.value).outcome
        return Outcome(best.point, Status.INTERRUPTED, best.records)


def _stopped(runs: Sequence[Run], finished: Sequence[Run], count: int) -> Outcome:
    """The best run as if all that are not finished had been stopped at record number `count`."""
    for run in runs:
        if run not in finished:
            run.cut(count)
    best = min(runs, key=lambda run: run.value).outcome
    return Outcome(best.point, Status.STOPPED, best.records, stopped=True)


def _halve(runs: Sequence[Run], rounds: Sequence[int]) -> Run:
    """The run that is best after the last round; half of the field drops out in each."""
    field = list(runs)
    for iteration in rounds:
        if len(field) == 1:
            break
        for run in field:
            run.advance(iteration)
        field = sorted(field, key=lambda run: run.value)[: (len(field) + 1) // 2]
    return min(field, key=lambda run: run.value)


def _ranked(first: Run, runs: Sequence[Run]) -> list[Run]:
    return [first, *sorted((run for run in runs if run is not first), key=lambda run: run.value)]


def _record(iterate: Iterate, previous: LeastSquaresPoint | None, iteration: int, seconds: float) -> IterationRecord:
    point = iterate.point
    return IterationRecord(
        iteration=iteration,
        value=point.value,
        gradient_norm=safe_norm(point.projected_gradient),
        step_norm=iterate.step_norm,
        damping=iterate.damping,
        rank=point.rank,
        condition=point.condition,
        distance=0.0 if previous is None else point.distance(previous),
        seconds=seconds,
        evaluations=iterate.evaluations,
        regularization=point.regularization,
        parameters=point.parameters.clone(),
    )

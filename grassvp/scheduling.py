"""Methods run through the stages of a schedule, from one start or from several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from grassvp.arrays import check_nonnegative, safe_norm
from grassvp.reduced import ReducedProblem
from grassvp.schedules import Schedule, Stage
from grassvp.separable import SeparableProblem
from grassvp.solvers import (
    STUCK,
    Callback,
    GradientTolerance,
    IterationRecord,
    MaxIterations,
    MaxTime,
    Method,
    NonFinite,
    Outcome,
    Run,
    Status,
    StoppingRule,
    minimize,
)

__all__ = ["ENDED", "Ending", "Limits", "merit", "run_field", "run_schedule"]

ENDED = (Status.INTERRUPTED, Status.MAX_TIME)


@dataclass(frozen=True)
class Limits:
    """What ends a run."""

    threshold: float
    relative: float | None
    iterations: int
    seconds: float | None
    begin: float

    @staticmethod
    def of(
        problem: SeparableProblem, iterations: int, seconds: float | None, tolerance: float | None, begin: float
    ) -> "Limits":
        """The limits of a solve of a problem, with None for the default tolerance and for no end in time."""
        size, eps = safe_norm(problem.weighted_targets), torch.finfo(problem.targets.dtype).eps
        factor = 4 * eps if tolerance is None else check_nonnegative(tolerance, "tolerance")
        relative = 4 * eps * size if tolerance is None else None
        time_limit = None if seconds is None else check_nonnegative(seconds, "max_time")
        return Limits(factor * size**2, relative, iterations, time_limit, begin)

    def rule(self, spent: int, stage: Stage) -> StoppingRule:
        """The rule of a stage after `spent` iterations."""
        left = self.iterations - spent
        rule = NonFinite() | GradientTolerance(self.threshold, self.relative) if stage.tested else NonFinite()
        rule = rule if self.seconds is None else rule | MaxTime(self.seconds)
        return rule | MaxIterations(left if stage.iterations is None else min(stage.iterations, left))


Ending = tuple[Outcome, Stage, Tensor]
"""How a run ended, its last stage, and the start that it took."""


def run_field(
    schedule: Schedule, method: Method, field: Sequence[Tensor], limits: Limits, callbacks: tuple[Callback, ...]
) -> Ending:
    """The best of several starts.

    The first stage picks one, as `minimize` does; where lam has moved on since then, and it gets stuck in the end, the
    others get their turn here.
    """
    best = last = run_schedule(schedule, method, field, limits, callbacks)
    waiting = [start for start in field if len(last[1].trail) > 1 and start is not last[2]]
    while waiting and last[0].status in STUCK and not last[0].stopped:
        last = run_schedule(schedule, method, [waiting.pop(0)], limits, callbacks)
        best = min(best, last, key=merit)
    return best


def run_schedule(
    schedule: Schedule, method: Method, field: Sequence[Tensor], limits: Limits, callbacks: tuple[Callback, ...]
) -> Ending:
    """How the last stage ended, each starting where the one before it ended, with the records of all."""
    records: list[IterationRecord] = []
    stage, start = schedule.first(field), field[0]
    while True:
        spent, evaluations = max(len(records) - 1, 0), records[-1].evaluations if records else 0
        rule = limits.rule(spent, stage)
        runs = [Run(stage.reduced, method, each, rule, limits.begin) for each in field]
        _tell(callbacks, stage.reduced)
        seen = [_shifted(each, spent, evaluations) for each in callbacks] if records else callbacks
        outcome = minimize(runs, seen)
        if not records:
            start = next((each for each, run in zip(field, runs, strict=True) if run.records is outcome.records), start)
        later = outcome.records[1:] if records else outcome.records
        records += [_shift(record, spent, evaluations) for record in later]
        early = outcome.stopped and outcome.status is Status.MAX_ITERATIONS and len(records) <= limits.iterations
        outcome = replace(outcome, records=records, status=Status.STOPPED if early else outcome.status)
        if outcome.point is None:
            return outcome, stage, start
        final = outcome.stopped or outcome.status in ENDED or len(records) > limits.iterations
        try:
            stage, outcome = schedule.after(stage, outcome, final)
        except KeyboardInterrupt:  # while lam was chosen or the network operated on
            return replace(outcome, status=Status.INTERRUPTED), stage, start
        if stage.over or outcome.point is None:
            return outcome, stage, start
        field = [outcome.point.parameters]


def _tell(callbacks: Sequence[Callback], reduced: ReducedProblem) -> None:
    """Tell callbacks that ask for it by a method `follow` which problem the next records are of."""
    for callback in callbacks:
        if hasattr(callback, "follow"):
            callback.follow(reduced.problem)  # pyright: ignore[reportFunctionMemberAccess]


def merit(ending: Ending) -> float:
    """What runs are compared by: the value, or cross-validation where each run has a lam of its own."""
    outcome, stage, _ = ending
    if outcome.point is None:
        return math.inf
    return cast(Any, outcome.point).cross_validated if stage.trail else outcome.point.value


def _shift(record: IterationRecord, iterations: int, evaluations: int) -> IterationRecord:
    return replace(record, iteration=record.iteration + iterations, evaluations=record.evaluations + evaluations)


def _shifted(callback: Callback, iterations: int, evaluations: int) -> Callback:
    """The callback, shown the records of a later stage as they will be numbered; its start was shown already."""
    return lambda record: record.iteration > 0 and callback(_shift(record, iterations, evaluations))

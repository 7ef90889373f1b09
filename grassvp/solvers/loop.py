"""The one loop behind every method: take an iterate, record it, tell the callbacks, ask whether to stop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.solvers.history import IterationRecord
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, Method
from grassvp.solvers.status import Status
from grassvp.solvers.stopping import StoppingRule

__all__ = ["Callback", "Outcome", "minimize"]

Callback = Callable[[IterationRecord], Any]


@dataclass(frozen=True)
class Outcome:
    """Result of `minimize`: the iterate of lowest value (None where the start is not finite), and how it came to it."""

    point: LeastSquaresPoint | None
    status: Status
    records: list[IterationRecord]
    elapsed: float


def minimize(
    problem: LeastSquaresProblem,
    method: Method,
    start: Tensor,
    rule: StoppingRule,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Run `method` from `start` until it ends, `rule` fires, a callback returns True, or Ctrl-C."""
    begin, records, best, previous = time.perf_counter(), [], None, None
    status = None
    try:
        steps = method.iterate(problem, start)
        while status is None:
            try:
                iterate = next(steps)
            except StopIteration as end:
                status = end.value
                break
            record = _record(iterate, previous, len(records), time.perf_counter() - begin)
            records.append(record)
            previous = iterate.point
            if best is None or iterate.point.value < best.value:
                best = iterate.point
            status = rule.check(record)
            # A list, so that every callback sees the record even when an earlier one asks to stop.
            if any([callback(record) is True for callback in callbacks]) and status is None:
                status = Status.STOPPED
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    point = previous if status is Status.CONVERGED else best  # the gradient test holds at the last iterate
    return Outcome(point, status, records, time.perf_counter() - begin)  # pyright: ignore[reportArgumentType]


def _record(iterate: Iterate, previous: LeastSquaresPoint | None, iteration: int, seconds: float) -> IterationRecord:
    point = iterate.point
    return IterationRecord(
        iteration=iteration,
        value=point.value,
        gradient_norm=float(torch.linalg.vector_norm(point.gradient.double())),
        step_norm=iterate.step_norm,
        damping=iterate.damping,
        rank=point.rank,
        condition=point.condition,
        distance=0.0 if previous is None else point.distance(previous),
        seconds=seconds,
        evaluations=iterate.evaluations,
        parameters=point.parameters,
    )

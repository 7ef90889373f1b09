"""A schedule that operates on the network between the iterations of another one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from grassvp.reduced import ReducedProblem
from grassvp.schedules import Piece, Schedule, Stage
from grassvp.separable import SeparableProblem
from grassvp.solvers import Outcome, Status, attempt

__all__ = ["Operated", "Operating"]

UNTOUCHED = (Status.INTERRUPTED, Status.MAX_TIME, Status.NON_FINITE)


@dataclass(frozen=True)
class Operating(Piece):
    """A piece of a stage of another schedule, for the network as it is now.

    Attributes:
        last: iterations before the last operation, done or not.
        results: what was done so far, as (iterations before it, result); what was refused altogether is left out.
    """

    last: int = 0
    results: tuple[tuple[int, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Operated:
    """The stages of another schedule in pieces, after each of which a surgeon may operate on the network.

    It operates too where the solve would end by itself or has no iterations left; in the first case a solve whose
    network has changed goes on.

    Attributes:
        inner: the other schedule.
        surgeon: has `every` and `operate(problem, parameters, rng)`, as `grassvp.surgery.Surgery` does.
        rng: for the surgeon.
    """

    inner: Schedule
    surgeon: Any
    rng: np.random.Generator

    @property
    def starting(self) -> ReducedProblem:
        """See `Schedule`."""
        return self.inner.starting

    def first(self, field: Sequence[Tensor]) -> Operating:
        """See `Schedule`."""
        whole = self.inner.first(field)
        return self._piece(Operating(whole.reduced, schedule=self.inner), whole, whole.iterations, 0)

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """See `Schedule`."""
        now, count = cast(Operating, stage), max(len(outcome.records) - 1, 0)
        whole, left = now.whole, now.rest
        if final or left == 0 or outcome.status is not Status.MAX_ITERATIONS:
            whole, outcome = now.schedule.after(whole, outcome, final)
            left = whole.iterations
        due = whole.over or count - now.last >= self.surgeon.every
        if due and not (outcome.stopped or outcome.status in UNTOUCHED):
            now = replace(now, last=count)
            done = self.surgeon.operate(whole.reduced.problem, cast(Any, outcome.point).parameters, self.rng)
            if done is not None and done.changed:
                reduced, schedule = ReducedProblem(done.problem), now.schedule.regularizing(done.problem)
                now = replace(now, schedule=schedule, results=(*now.results, (count, done)))
                status = Status.MAX_ITERATIONS if outcome.status is Status.CONVERGED else outcome.status
                outcome = replace(outcome, point=attempt(reduced, done.parameters), status=status)
                whole = replace(whole, reduced=reduced, over=final)
        return self._piece(now, whole, left, count), outcome

    def regularizing(self, problem: SeparableProblem) -> "Operated":
        """See `Schedule`."""
        return replace(self, inner=self.inner.regularizing(problem))

    def _piece(self, now: Operating, whole: Stage, left: int | None, count: int) -> Operating:
        """The next piece of a stage that has so many iterations left, after `count` of them all."""
        return now.cut(whole, left, self.surgeon.every - (count - now.last))

"""A schedule that linearises a nonlinear problem again and again between the iterations of another one.

The problem 1/2 ||W r(u)||^2 with a nonlinear r and u = Phi(theta) C is minimised through its linearisations at fields
u_k, each a separable problem in theta and C. At a fixed point u = u_k the gradients of both by theta and by C agree,
so that what the linearisations converge to is critical for the nonlinear problem too.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.reduced import ReducedProblem
from grassvp.schedules import Piece, Schedule, Stage
from grassvp.separable import SeparableProblem
from grassvp.solvers import Outcome, Status, attempt
from grassvp.starts import SCALES

__all__ = ["Linearized", "Relinearized", "Relinearizing", "approached", "settled"]

SETTLED = 1.5e-8  # relative change of the field, in norms of the targets, whose square is rounding
FIRST, SHORTEST, LONGEST = 6, 3, 40  # iterations between two linearisations
HOLDS = 1.2  # by which the nonlinear residual may exceed the linearised one for the next stage to be longer
MOST_STEPS = 40  # of Newton's method for C alone
POLISHING = 3  # such steps between two stages
SLOWEST = 1e-7  # part by which the residual must fall in one of them
WORTHWHILE = 0.1  # that part while fields of random features are compared
LEAST = 1e-3  # part by which it must fall for a stage without iterations to be followed by another one


class Linearized(Protocol):
    """A nonlinear problem at the state where it is linearised; immutable."""

    @property
    def residual(self) -> float:
        """Norm of the weighted nonlinear residual at the state."""
        ...

    @property
    def change(self) -> float:
        """Size of the way to the last solution, relative to the targets; infinite before the first."""
        ...

    @property
    def fraction(self) -> float:
        """Which part of that way was gone."""
        ...

    @property
    def excess(self) -> float:
        """By which factor the nonlinear residual at the whole way exceeds the linearised one."""
        ...

    def problem(self, like: SeparableProblem) -> SeparableProblem:
        """The separable problem linearised here, with the options and the network of another one."""
        ...

    def ahead(self, problem: SeparableProblem, parameters: Tensor, coefficients: Tensor) -> "Linearized":
        """The state on the way to theta and C, which the problem linearised here has led to."""
        ...

    def rebalanced(self) -> "Linearized":
        """The same state with row weights that are right there."""
        ...


@dataclass(frozen=True)
class Relinearized(Piece):
    """A piece of a stage of another schedule, for one linearisation.

    Attributes:
        length: iterations of a piece.
        done: iterations before this piece.
    """

    length: int = FIRST
    done: int = 0

    @property
    def results(self) -> tuple[Any, ...]:
        """What a surgeon of the other schedule did."""
        return getattr(self.whole, "results", ())


@dataclass(frozen=True, eq=False)
class Relinearizing:
    """The stages of another schedule in pieces, after each of which the problem is linearised where it has come to.

    The pieces are longer where the linearisation holds, shorter where it does not. A solve has ended where the other
    schedule has and the field does not change any more.

    Attributes:
        inner: the other schedule.
    """

    inner: Schedule

    @property
    def starting(self) -> ReducedProblem:
        """See `Schedule`."""
        return self.inner.starting

    def first(self, field: Sequence[Tensor]) -> Relinearized:
        """See `Schedule`: the linearisation that Newton's method for C alone leads to at the first start."""
        problem = settled(self.inner.starting.problem, field[0])
        schedule = self.inner.regularizing(problem)
        whole = schedule.first(field)
        return _piece(Relinearized(whole.reduced, schedule=schedule), whole, whole.iterations, 0)

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """See `Schedule`."""
        now, count = _reconciled(cast(Relinearized, stage)), max(len(outcome.records) - 1, 0)
        whole, left, before = now.whole, now.rest, now.reduced.problem
        if not final and left != 0 and _cut(now, outcome, count):
            outcome = replace(outcome, status=Status.MAX_ITERATIONS)
        else:
            whole, outcome = now.schedule.after(whole, outcome, final)
            left = whole.iterations
        if outcome.point is None or outcome.status in (Status.INTERRUPTED, Status.NON_FINITE):
            return _piece(now, whole, left, count), outcome
        point = cast(Any, outcome.point)
        problem = _next(whole.reduced.problem, point.parameters, point.coefficients)
        stayed = problem.linearized.change <= SETTLED or problem.linearized.fraction == 0.0
        idle = count == now.done and problem.linearized.residual > (1.0 - LEAST) * before.linearized.residual
        if whole.over and (stayed or idle) and not final:
            return _piece(now, whole, left, count), _honest(outcome, problem.linearized.change)
        if problem.linearized.fraction > 0.0:
            schedule, reduced = now.schedule.regularizing(problem), ReducedProblem(problem)
            there = attempt(reduced, point.parameters)
            status = outcome.status if stayed or outcome.status is not Status.CONVERGED else Status.MAX_ITERATIONS
            outcome = replace(outcome, point=point if there is None else there, status=status)
            whole = replace(whole, reduced=reduced, over=final)
            now = replace(now, schedule=schedule, length=_length(now.length, problem.linearized))
        return _piece(now, whole, left, count), outcome

    def regularizing(self, problem: SeparableProblem) -> "Relinearizing":
        """See `Schedule`."""
        return Relinearizing(self.inner.regularizing(problem))


def settled(
    problem: SeparableProblem, parameters: Tensor, most: int = MOST_STEPS, slowest: float = SLOWEST
) -> SeparableProblem:
    """The problem linearised where Newton's method for C alone leads to at theta.

    It ends where the field does not change any more, or where the residual falls by a part of less than `slowest`; at
    theta whose features are not finite the problem stays as it is.
    """
    residual = math.inf
    for _ in range(most):
        try:
            C = problem.project(problem.features(parameters, problem.inputs)).coefficients
        except NonFiniteError:
            break
        state = problem.linearized.ahead(problem, parameters, C)
        if state.fraction == 0.0:
            break
        problem = state.problem(problem)
        if state.change <= SETTLED or state.residual > (1.0 - slowest) * residual:
            break
        residual = state.residual
    return problem


def approached(
    problem: SeparableProblem,
    parameters: Tensor | None,
    rng: np.random.Generator,
    *,
    draws: int = 2,
    scales: Iterable[float] = SCALES,
) -> SeparableProblem:
    """The problem linearised near its solution, as far as random features come, or features at given parameters.

    A field needs no network, so that what the features of one draw have found is where those of the next begin. The
    rows are balanced anew where this ends.
    """
    features, inputs = problem.features, problem.inputs
    if parameters is None and features.can_sample:
        thetas = [features.sample(rng, inputs, scale) for scale in scales for _ in range(draws)]
    else:
        thetas = [features.initial if parameters is None else parameters]
    for theta in thetas:
        tried = settled(problem, theta, slowest=WORTHWHILE)
        problem = tried if tried.linearized.residual < problem.linearized.residual else problem
    return problem.linearized.rebalanced().problem(problem)


def _next(problem: SeparableProblem, parameters: Tensor, coefficients: Tensor) -> SeparableProblem:
    """The problem linearised on the way to theta and C, and a little further by C alone."""
    state = problem.linearized.ahead(problem, parameters, coefficients)
    ahead = state.problem(problem)
    return ahead if state.fraction < 1.0 or state.change <= SETTLED else settled(ahead, parameters, POLISHING)


def _honest(outcome: Outcome, change: float) -> Outcome:
    """Convergence of a linearised problem is none where the field it was linearised at still changes."""
    converged = outcome.status is Status.CONVERGED and change > SETTLED
    return replace(outcome, status=Status.STALLED) if converged else outcome


def _reconciled(now: Relinearized) -> Relinearized:
    """The piece whose inner stage and schedule have its network, which a surgeon may have changed."""
    if now.whole.reduced is now.reduced:
        return now
    schedule = now.schedule.regularizing(now.reduced.problem)
    return replace(now, whole=replace(now.whole, reduced=now.reduced), schedule=schedule)


def _cut(now: Relinearized, outcome: Outcome, count: int) -> bool:
    """Whether a piece ended for its length alone; a gradient that is small enough to end a solve may fall on."""
    ended = outcome.status in (Status.MAX_ITERATIONS, Status.CONVERGED) and not outcome.stopped
    return ended and count - now.done == now.iterations


def _length(length: int, state: Linearized) -> int:
    """Iterations until the next linearisation."""
    if state.fraction == 1.0 and state.excess <= HOLDS:
        return min(2 * length, LONGEST)
    return max(length // 2, SHORTEST)


def _piece(now: Relinearized, whole: Stage, left: int | None, count: int) -> Relinearized:
    """The next piece of a stage that has so many iterations left, after `count` of them all."""
    return replace(now.cut(whole, left, now.length), done=count)

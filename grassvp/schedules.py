"""Schedules: which objectives a solve minimises one after the other, each from where the last one ended.

Within a stage lam, and with it the objective that a line search compares, is one. A schedule looks at what a stage
ended with and says what comes next: the same problem for longer, one with another lam, or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, Self, cast

from torch import Tensor

from grassvp.continuation import Continuation
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import Outcome, Status, attempt

__all__ = ["Adaptive", "Descending", "Fixed", "Piece", "Schedule", "Stage", "schedule_of"]

FIRST_STAGE = 10  # iterations after which lam is chosen again; each stage is twice as long as the one before
REVERSALS = 2  # of the direction in which lam moves, after which it stays


@dataclass(frozen=True)
class Stage:
    """One objective and how long it is minimised.

    Attributes:
        reduced: the problem.
        iterations: at most; None for as long as the solve allows.
        tested: whether a small gradient ends it.
        over: whether this is no stage any more but what a solve ended with.
        trail: lam of the stages so far, where a rule chooses it.
    """

    reduced: ReducedProblem
    iterations: int | None = None
    tested: bool = True
    over: bool = False
    trail: tuple[float, ...] = ()

    @property
    def ended(self) -> "Stage":
        """The end of a solve with this problem."""
        return replace(self, over=True)


@dataclass(frozen=True)
class Piece(Stage):
    """A piece of a stage of another schedule, for a schedule that does something between the iterations of that one.

    Attributes:
        schedule: the other schedule, for the problem as it is now.
        whole: its stage that this is a piece of.
        rest: iterations of it that are left after this piece, None for no limit.
    """

    schedule: Any = None
    whole: Any = None
    rest: int | None = 0

    def cut(self, whole: Stage, left: int | None, size: int) -> Self:
        """The next piece, of at most `size` of the iterations that are `left` of a stage."""
        size = size if left is None else min(size, left)
        return replace(
            self,
            reduced=whole.reduced,
            iterations=size,
            tested=whole.tested,
            over=whole.over,
            trail=whole.trail,
            whole=whole,
            rest=None if left is None else left - size,
        )


class Schedule(Protocol):
    """The stages of a solve; immutable, as what it needs to remember is in the stage."""

    @property
    def starting(self) -> ReducedProblem:
        """The problem that starts are compared on."""
        ...

    def first(self, field: Sequence[Tensor]) -> Stage:
        """The first stage, for the starts theta that it is run from."""
        ...

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """The next stage, for an outcome with a point, and the outcome as it is then; `final` where it must be over."""
        ...

    def regularizing(self, problem: SeparableProblem) -> "Schedule":
        """The same for a problem with other features."""
        ...


@dataclass(frozen=True)
class Fixed:
    """One lam, or the one that a rule chooses at the start."""

    starting: ReducedProblem

    def first(self, field: Sequence[Tensor]) -> Stage:
        """See `Schedule`."""
        return Stage(self.starting.chosen_at(field[0]))

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """See `Schedule`."""
        return stage.ended, outcome

    def regularizing(self, problem: SeparableProblem) -> "Fixed":
        """See `Schedule`."""
        return Fixed(ReducedProblem(problem.regularized_like(self.starting.problem)))


@dataclass(frozen=True)
class Descending:
    """From a large lam to a small one, or to the first that is no larger than what a rule chooses there.

    A solve that ends on the way is valued at the last lam all the same, unless the rule would end the path there.
    """

    problem: SeparableProblem
    path: Continuation

    @property
    def starting(self) -> ReducedProblem:
        """See `Schedule`."""
        return self._stage(0).reduced

    def first(self, field: Sequence[Tensor]) -> Stage:
        """See `Schedule`."""
        return self._stage(0)

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """See `Schedule`."""
        if stage.iterations is None:
            return stage.ended, outcome
        lam, until, point = stage.reduced.problem.regularization, self.problem.until, cast(Any, outcome.point)
        enough = until is not None and point.chosen(until).regularization >= lam
        if final:
            return (stage.ended, outcome) if enough else _valued(ReducedProblem(self.problem), outcome)
        return Stage(stage.reduced) if enough else self._stage(self.path.stages.index(lam) + 1), outcome

    def regularizing(self, problem: SeparableProblem) -> "Descending":
        """See `Schedule`."""
        return Descending(problem.regularized_like(self.problem), self.path)

    def _stage(self, number: int) -> Stage:
        lams = self.path.stages
        if number == len(lams) - 1:
            return Stage(ReducedProblem(self.problem))
        return Stage(ReducedProblem(self.problem.with_regularization(lams[number])), self.path.iterations, False)


@dataclass(frozen=True)
class Adaptive:
    """Lam by a rule, chosen at the start, again after 10, 20, 40, ... iterations, and whenever a stage ends.

    Starts are found with hardly any lam, so that they may come as close to the targets as their features can: an error
    of approximation that training will remove looks like noise to a rule. The first lam is chosen at the start of least
    generalised cross-validation. A solve has ended where the rule chooses the lam that it ended with. Should lam go to
    and fro, it stays. At a limit of iterations or time the output layer is solved once more, for the lam that the last
    iterate calls for.
    """

    problem: SeparableProblem

    @property
    def starting(self) -> ReducedProblem:
        """See `Schedule`."""
        return ReducedProblem(self.problem.barely_regularized())

    def first(self, field: Sequence[Tensor]) -> Stage:
        """See `Schedule`."""
        points = [point for start in field if (point := attempt(self.starting, start)) is not None]
        best: Any = min(points, key=lambda point: cast(Any, point).cross_validated, default=field[0])
        reduced = self.starting.chosen_at(best)
        return Stage(reduced, FIRST_STAGE, trail=(reduced.problem.regularization,))

    def after(self, stage: Stage, outcome: Outcome, final: bool) -> tuple[Stage, Outcome]:
        """See `Schedule`."""
        reduced = self.starting.chosen_at(outcome.point)
        trail, longer = (*stage.trail, reduced.problem.regularization), 2 * (stage.iterations or FIRST_STAGE)
        if trail[-1] == trail[-2] or _reversals(trail) > REVERSALS:
            more = outcome.status is Status.MAX_ITERATIONS and not final
            return replace(stage, iterations=longer, over=not more), outcome
        end, outcome = _valued(reduced, outcome) if final else (Stage(reduced, longer), outcome)
        return replace(end, trail=trail), outcome

    def regularizing(self, problem: SeparableProblem) -> "Adaptive":
        """See `Schedule`."""
        return Adaptive(problem.regularized_like(self.problem))


def schedule_of(problem: SeparableProblem, *, still: bool = False) -> Schedule:
    """The schedule that the regularisation of a problem asks for.

    A solve that stands `still`, for want of iterations or of coefficients that are solved for, has one stage: at the
    end of a continuation, or with the lam that a rule chooses at the start.
    """
    if still or (problem.continuation is None and problem.rule is None):
        return Fixed(ReducedProblem(problem))
    return Adaptive(problem) if problem.continuation is None else Descending(problem, problem.continuation)


def _reversals(trail: Sequence[float]) -> int:
    """How often the sequence turns."""
    signs = [later > earlier for earlier, later in pairwise(trail) if later != earlier]
    return sum(one != other for one, other in pairwise(signs))


def _valued(reduced: ReducedProblem, outcome: Outcome) -> tuple[Stage, Outcome]:
    """The end with the value that another problem gives the parameters, which says nothing about convergence."""
    parameters = cast(Any, outcome.point).parameters
    status = Status.MAX_ITERATIONS if outcome.status is Status.CONVERGED else outcome.status
    status = Status.STOPPED if outcome.stopped else status
    point = attempt(reduced, parameters)
    return Stage(reduced, over=True), replace(outcome, point=outcome.point if point is None else point, status=status)

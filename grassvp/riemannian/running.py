"""`run`: a pymanopt problem minimised to working precision, with a history, a status and a seed."""

import copy
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pymanopt
from pymanopt.optimizers import TrustRegions
from pymanopt.optimizers.optimizer import Optimizer

from grassvp.arrays import check_count, check_nonnegative
from grassvp.callbacks import check_callbacks
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.riemannian.evaluator import Evaluator, Stop, has_hessian
from grassvp.riemannian.finish import finish
from grassvp.riemannian.optimizers import MonitoredProblem, derivative_free, global_generator, optimizer_of, translate
from grassvp.riemannian.recorder import Callback, Recorder
from grassvp.riemannian.result import RiemannianResult, columns
from grassvp.riemannian.starts import check_point, generator_of, random_point
from grassvp.solvers.status import Status
from grassvp.solvers.stopping import GradientTolerance, MaxIterations, MaxTime, NonFinite, StoppingRule

__all__ = ["run"]

DEFAULT_ITERATIONS = 1000
FINISHING_ITERATIONS = 50
BEYOND = 1e-2  # the finish aims at this times the tolerance: a value of size |gradient|^2 gains four digits
HANDOVER, HANDOVER_TRUST_REGION = 1e-6, 1e-9  # gradient norms, relative to the scale


def run(
    problem: pymanopt.Problem,
    solver: str | Optimizer = "trust-region",
    *,
    initial_point: Any = None,
    rng: Any = None,
    max_iterations: int | None = None,
    max_time: float | None = None,
    tolerance: float = 1e-12,
    callbacks: Sequence[Callback] = (),
    polish: bool = True,
    scale: float | None = None,
) -> RiemannianResult:
    """Minimise a pymanopt problem with one of pymanopt's optimizers.

    The optimizers themselves stall where differences of values are rounding. With `polish` a finish takes over
    there: Newton steps judged by the gradient norm, which never raise the value beyond rounding and never approach a
    saddle. Named solvers hand over at a gradient norm of 1e-6 (trust regions: 1e-9) of the scale, a given optimizer
    when it ends by its own rules other than a limit. Problems without a Hessian have no finish.

    Args:
        problem: a problem whose gradient is known, from `subspace_problem`, `parameter_problem` or pymanopt.
        solver: "trust-region", "conjugate-gradient", "steepest-descent", or a pymanopt optimizer, which keeps its own
            limits. Its verbosity is ignored, and it is not changed. Iterates are the points where it asks for the
            gradient; for optimizers that never do, each new best point.
        initial_point: where to start; None for a random point. For `NelderMead` and `ParticleSwarm` a list of points.
        rng: numpy Generator or seed of that point, and of optimizers that draw; None for fresh entropy. The global
            generator of numpy, which pymanopt uses, is put back as it was.
        max_iterations: iterates after the start, those of the finish included; None for 1000 and up to 50 of the
            finish (a given optimizer: its own limit).
        max_time: seconds, checked at every evaluation after the first iterate.
        tolerance: CONVERGED where the gradient norm is at most this times the scale; the finish tries for a hundredth
            of it, which gains digits of values that tend to 0.
        callbacks: each is called with the `RiemannianRecord` of each iterate; returning True stops the run.
        polish: whether to finish with Newton steps.
        scale: unit of the cost. By default the problem's attribute `scale` (||Y||_F^2 for problems of this package);
            for others the larger of |cost| and gradient norm at the start, or 1 where both are 0.

    Returns:
        A `RiemannianResult`. Failure is a status: NON_FINITE where value or gradient at an iterate is not finite,
        STALLED, MAX_ITERATIONS, MAX_TIME, STOPPED by a callback, INTERRUPTED by Ctrl-C (the best point is kept),
        RANK_DEFICIENT where a parameter problem stalls at features without full rank at lam = 0.

    Raises:
        ArgumentError, ArgumentTypeError: a ValueError or TypeError that names the argument: an unknown solver, a
            point off the manifold, a problem without gradient, trust regions without Hessian.
    """
    named, optimizer = isinstance(solver, str), optimizer_of(solver)
    _check_arguments(problem, callbacks, polish)
    generator, relative = generator_of(rng), check_nonnegative(tolerance, "tolerance")
    seconds = math.inf if max_time is None else check_nonnegative(max_time, "max_time")
    limit = check_count(max_iterations, "max_iterations", least=0) if max_iterations is not None else None
    begin = time.perf_counter()
    evaluator = Evaluator(problem, begin + seconds)
    start = _start(problem, optimizer, initial_point, generator)
    first = start[0] if isinstance(start, Population) else start
    _check_derivatives(evaluator, optimizer, first)
    unit = _scale(evaluator, first, scale)
    rule = NonFinite() | GradientTolerance(relative * unit)
    recorder = Recorder(evaluator, rule, callbacks, _rounding(problem, unit), begin)
    stages = _Stages(recorder, optimizer, named, unit, relative * unit, limit, seconds, polish, generator)
    with global_generator(generator), np.errstate(all="ignore"):
        status, detail = stages.run(start)
    if status is Status.STALLED and not _differentiable(problem, recorder.best):
        status = Status.RANK_DEFICIENT
    return _result(status, detail, recorder, first, unit, begin)


class Population(list):
    """Starting points of an optimizer that takes several."""


@dataclass
class _Stages:
    """The optimizer, then the finish."""

    recorder: Recorder
    optimizer: Optimizer
    named: bool
    unit: float
    threshold: float
    limit: int | None
    seconds: float
    polish: bool
    rng: np.random.Generator

    def run(self, start: Any) -> tuple[Status, str]:
        """Why the run ended, and what the optimizer said if it ended itself."""
        default = DEFAULT_ITERATIONS if self.named else sys.maxsize
        try:
            self.recorder.rule = self._rule(self.threshold, default)
            status, detail = self._optimize(start)
            if not self._to_be_finished(status):
                return status, detail
            self.recorder.rule = self._rule(BEYOND * self.threshold, self._iterations + FINISHING_ITERATIONS)
            return self._verdict(finish(self.recorder, self.threshold, FINISHING_ITERATIONS)), ""
        except Stop as stop:
            return self._verdict(stop.status), ""
        except KeyboardInterrupt:
            return Status.INTERRUPTED, ""

    @property
    def _iterations(self) -> int:
        return len(self.recorder.records) - 1

    def _rule(self, threshold: float, default: int) -> StoppingRule:
        limit = default if self.limit is None else self.limit
        return NonFinite() | GradientTolerance(threshold) | MaxTime(self.seconds) | MaxIterations(limit)

    def _to_be_finished(self, status: Status) -> bool:
        """Stalled or at its default limit; converged too, as the finish gains digits of small values at one step."""
        if not self.polish or (self.limit is not None and self._iterations >= self.limit):
            return False
        own = self.named and (
            (status is Status.MAX_ITERATIONS and self.limit is None)
            or (status is Status.CONVERGED and self._iterations > 0 and self.threshold <= HANDOVER * self.unit)
        )
        return (status is Status.STALLED or own) and self._can_finish

    def _verdict(self, status: Status) -> Status:
        """CONVERGED where the gradient test holds although the finish, which goes further, was ended otherwise."""
        ended = status in (Status.STALLED, Status.MAX_ITERATIONS, Status.MAX_TIME)
        return Status.CONVERGED if ended and self.recorder.last_gradient_norm <= self.threshold else status

    @cached_property
    def _can_finish(self) -> bool:
        return has_hessian(self.recorder.evaluator, self.recorder.best)

    def _optimize(self, start: Any) -> tuple[Status, str]:
        recorder, optimizer = self.recorder, self.optimizer
        unit = self.unit if self.named and self.unit > 0 else 1.0
        by_cost = derivative_free(optimizer)
        given = {} if by_cost and not isinstance(start, Population) else {"initial_point": start}
        try:
            recorder.visit(start[0] if isinstance(start, Population) else start)
            monitored = MonitoredProblem(recorder, unit, self.rng, by_cost=by_cost, handover=self._handover())
            result = optimizer.run(monitored, **given)
            recorder.visit(result.point)
        except Stop as stop:
            return stop.status, ""
        except ZeroDivisionError:  # pymanopt divides by differences of gradients, which vanish where it stalls
            if recorder.evaluator.evaluating:
                raise
            return Status.STALLED, ""
        return translate(result.stopping_criterion), result.stopping_criterion

    def _handover(self) -> float:
        if not (self.named and self.polish and self._can_finish):
            return 0.0
        relative = HANDOVER_TRUST_REGION if isinstance(self.optimizer, TrustRegions) else HANDOVER
        return relative * self.unit


def _check_arguments(problem: Any, callbacks: Any, polish: Any) -> None:
    if not isinstance(problem, pymanopt.Problem):
        raise ArgumentTypeError(f"problem must be a pymanopt.Problem, got {type(problem).__name__}")
    check_callbacks(callbacks)
    if not isinstance(polish, bool):
        raise ArgumentTypeError(f"polish must be True or False, got {polish!r}")


def _start(problem: pymanopt.Problem, optimizer: Optimizer, initial_point: Any, rng: np.random.Generator) -> Any:
    manifold = problem.manifold
    if initial_point is None:
        return random_point(manifold, rng)
    if not derivative_free(optimizer):
        return check_point(manifold, initial_point)
    if not isinstance(initial_point, list | tuple) or not initial_point:
        raise ArgumentTypeError(f"initial_point must be a list of points for {type(optimizer).__name__}")
    return Population(check_point(manifold, point) for point in initial_point)


def _check_derivatives(evaluator: Evaluator, optimizer: Optimizer, start: Any) -> None:
    try:
        evaluator.gradient_norm(start)
    except NotImplementedError as error:
        raise ArgumentError(f"problem must have a gradient on its manifold: {error}") from error
    if isinstance(optimizer, TrustRegions) and not has_hessian(evaluator, start):
        raise ArgumentError(
            'problem must have a Hessian for solver="trust-region": give it one, or use "conjugate-gradient"'
        )


def _scale(evaluator: Evaluator, start: Any, scale: Any) -> float:
    """The unit of the cost."""
    known = getattr(evaluator.problem, "scale", None) if scale is None else scale
    if known is not None:
        return check_nonnegative(known, "scale")
    found = max(abs(evaluator.value(start)), evaluator.gradient_norm(start))
    return found if 0.0 < found < math.inf else 1.0


def _rounding(problem: Any, unit: float) -> Callable[[float], float]:
    """Rounding error of a value: what the problem says, or eps max(|f|, scale)."""
    return getattr(problem, "value_rounding", lambda value: 2.0**-52 * max(abs(value), unit))


def _differentiable(problem: Any, point: Any) -> bool:
    check = getattr(problem, "is_differentiable", None)
    return check is None or check(point)


def _result(status: Status, detail: str, recorder: Recorder, start: Any, unit: float, begin: float) -> RiemannianResult:
    evaluator, records = recorder.evaluator, recorder.records
    converged = status is Status.CONVERGED  # the gradient test holds at the last point
    point = recorder.last if converged else recorder.best
    record = records[-1] if converged else recorder.best_record
    return RiemannianResult(
        status=status,
        point=copy.deepcopy(start if point is None else point),
        value=math.nan if record is None else record.value,
        gradient_norm=math.nan if record is None else record.gradient_norm,
        scale=unit,
        iterations=max(len(records) - 1, 0),
        evaluations=dict(evaluator.counts),
        elapsed=time.perf_counter() - begin,
        history=columns(records),
        detail=detail,
    )

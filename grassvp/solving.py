"""`solve`: from a separable problem to a solution."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_count, check_nonnegative, safe_norm
from grassvp.callbacks import check_callbacks
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.operating import Operated
from grassvp.projection import Choice
from grassvp.reduced import ReducedProblem
from grassvp.schedules import Schedule, Stage, schedule_of
from grassvp.separable import SeparableProblem
from grassvp.solvers import (
    STUCK,
    Callback,
    GradientTolerance,
    IterationRecord,
    LevenbergMarquardt,
    MaxIterations,
    MaxTime,
    Method,
    NonFinite,
    Outcome,
    Run,
    Solution,
    Status,
    StoppingRule,
    attempt,
    columns,
    minimize,
    resolve,
)
from grassvp.starts import INITIALIZATIONS, field_of_starts, perturbed

__all__ = ["generator", "solve"]

ENDED = (Status.INTERRUPTED, Status.MAX_TIME)


def solve(
    problem: SeparableProblem,
    solver: Method | None = None,
    *,
    initial_parameters: Any = None,
    seed: int | np.random.Generator | None = None,
    starts: int = 4,
    initialization: str = "auto",
    restarts: int = 0,
    max_iterations: int = 500,
    max_time: float | None = None,
    tolerance: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Solution:
    """Minimise 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 with C eliminated by least squares.

    Args:
        problem: the separable problem.
        solver: a method such as `LevenbergMarquardt()`, `TrustRegion()` or `FirstOrder("lbfgs")`; None for
            Levenberg-Marquardt, with geodesic acceleration where the features know the units of their parameters.
        initial_parameters: (q,) theta to start exactly from. None: features that can be sampled start from the best
            of several starts, among them the best random draw, so that the result is never worse than random features
            of the same width; others start from their own parameters.
        seed: seed or numpy Generator of the starts and restarts; None for fresh entropy. Torch's and numpy's global
            generators are neither read nor set.
        starts: how many starts are tried by successive halving; a joint method runs from the best random draw only.
        initialization: what they come from besides the best random draw: "random" features of several slope scales,
            "data" (neurons at steep places of the target), "growth" (neuron by neuron), or "auto", which takes turns
            as far as the features allow each of them.
        restarts: further runs from random perturbations of the best parameters so far; the best run is kept.
        max_iterations: accepted steps at most, of one run; 0 solves the linear part of random features only.
        max_time: seconds at most, from the call on, checked after each step.
        tolerance: CONVERGED where the gradient norm is at most this times ||W Y||_F^2. None for 4 eps of the floating
            type (9e-16 in float64), and then runs go on until the gradient is small beside ||r|| ||W Y|| as well, or no
            step helps.
        callbacks: each is called with every `IterationRecord` of the run that is chosen among the starts (from its
            first iterate, once it is chosen), and of what follows it; returning True stops the solve. One of them may
            be a `surgery.Surgery`, which is not called but operates on the network between iterations: the solution
            then has the network that is left. A callback with a method `follow` is told the problem whenever lam or
            the network changes.

    Returns:
        A `Solution`; a solve that fails says so in its status.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    begin = time.perf_counter()
    method = _check_arguments(problem, solver)
    joint = getattr(method, "objective", "reduced") == "joint"
    seers, surgeon = _check_callbacks(callbacks, joint)
    check_count(starts, "starts")
    check_choice(initialization, "initialization", INITIALIZATIONS)
    check_count(restarts, "restarts", least=0)
    check_count(max_iterations, "max_iterations", least=0)
    rng, limits = generator(seed), _Limits.of(problem, max_iterations, max_time, tolerance, begin)
    single = max_iterations == 0 or joint
    schedule = schedule_of(problem, still=max_iterations == 0 or (joint and problem.rule is not None))
    schedule = schedule if surgeon is None else Operated(schedule, surgeon, rng)
    field = _starts(schedule.starting, initial_parameters, rng, 1 if single else starts, initialization)
    method, choice = resolve(method, attempt(ReducedProblem(problem), field[0]))
    best = last = _from_field(schedule, method, field, limits, seers)
    for _ in range(restarts):
        outcome, stage, _ = best
        if outcome.point is None or last[0].stopped or last[0].status in ENDED:
            break
        again = [perturbed(stage.reduced, outcome.point.parameters, rng)]
        last = _scheduled(schedule.regularizing(stage.reduced.problem), method, again, limits, seers)
        best = min(best, last, key=_merit)
    return _solution(problem, method, choice, best, time.perf_counter() - begin)


def generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """The numpy generator of a seed, or an exception that names it."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"seed must be an integer >= 0, a numpy Generator or None, got {seed!r}") from error


@dataclass(frozen=True)
class _Limits:
    """What ends a run."""

    threshold: float
    relative: float | None
    iterations: int
    seconds: float | None
    begin: float

    @staticmethod
    def of(
        problem: SeparableProblem, iterations: int, seconds: float | None, tolerance: float | None, begin: float
    ) -> "_Limits":
        size, eps = safe_norm(problem.weighted_targets), torch.finfo(problem.targets.dtype).eps
        factor = 4 * eps if tolerance is None else check_nonnegative(tolerance, "tolerance")
        relative = 4 * eps * size if tolerance is None else None
        time_limit = None if seconds is None else check_nonnegative(seconds, "max_time")
        return _Limits(factor * size**2, relative, iterations, time_limit, begin)

    def rule(self, spent: int, stage: Stage) -> StoppingRule:
        """The rule of a stage after `spent` iterations."""
        left = self.iterations - spent
        rule = NonFinite() | GradientTolerance(self.threshold, self.relative) if stage.tested else NonFinite()
        rule = rule if self.seconds is None else rule | MaxTime(self.seconds)
        return rule | MaxIterations(left if stage.iterations is None else min(stage.iterations, left))


Ending = tuple[Outcome, Stage, Tensor]
"""How a run ended, its last stage, and the start that it took."""


def _from_field(
    schedule: Schedule, method: Method, field: Sequence[Tensor], limits: _Limits, callbacks: tuple[Callback, ...]
) -> Ending:
    """The best of several starts.

    The first stage picks one, as `minimize` does; where lam has moved on since then, and it gets stuck in the end, the
    others get their turn here.
    """
    best = last = _scheduled(schedule, method, field, limits, callbacks)
    waiting = [start for start in field if len(last[1].trail) > 1 and start is not last[2]]
    while waiting and last[0].status in STUCK and not last[0].stopped:
        last = _scheduled(schedule, method, [waiting.pop(0)], limits, callbacks)
        best = min(best, last, key=_merit)
    return best


def _scheduled(
    schedule: Schedule, method: Method, field: Sequence[Tensor], limits: _Limits, callbacks: tuple[Callback, ...]
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
        outcome = replace(outcome, records=records)
        if outcome.point is None:
            return outcome, stage, start
        final = outcome.stopped or outcome.status in ENDED or len(records) > limits.iterations
        stage, outcome = schedule.after(stage, outcome, final)
        if stage.over or outcome.point is None:
            return outcome, stage, start
        field = [outcome.point.parameters]


def _tell(callbacks: Sequence[Callback], reduced: ReducedProblem) -> None:
    """Tell callbacks that ask for it by a method `follow` which problem the next records are of."""
    for callback in callbacks:
        if hasattr(callback, "follow"):
            callback.follow(reduced.problem)  # pyright: ignore[reportFunctionMemberAccess]


def _chosen(problem: SeparableProblem, point: Any) -> Choice | None:
    """What the problem's rule says at a point, None where there is nothing to say."""
    if problem.rule is None or point is None or not hasattr(point, "chosen"):
        return None
    return cast(Any, point).chosen(problem.rule)


def _merit(ending: Ending) -> float:
    """What runs are compared by: the value, or cross-validation where each run has a lam of its own."""
    outcome, stage, _ = ending
    if outcome.point is None:
        return math.inf
    return cast(Any, outcome.point).projection.gcv if stage.trail else outcome.point.value


def _shift(record: IterationRecord, iterations: int, evaluations: int) -> IterationRecord:
    return replace(record, iteration=record.iteration + iterations, evaluations=record.evaluations + evaluations)


def _shifted(callback: Callback, iterations: int, evaluations: int) -> Callback:
    """The callback, shown the records of a later stage as they will be numbered; its start was shown already."""
    return lambda record: record.iteration > 0 and callback(_shift(record, iterations, evaluations))


def _check_arguments(problem: Any, solver: Any) -> Method:
    """The method, or an exception that names what cannot be used."""
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    default = LevenbergMarquardt(geodesic_acceleration=problem.units is not None)
    method = default if solver is None else solver
    if not hasattr(method, "iterate") or isinstance(method, type):
        raise ArgumentTypeError(f"solver must be a method such as LevenbergMarquardt(), got {solver!r}")
    if problem.bounds is not None and not getattr(method, "handles_bounds", False):
        raise ArgumentError(f"solver must handle the bounds of the problem, and {method!r} does not")
    if problem.coefficient_bounds is not None and getattr(method, "objective", "reduced") == "joint":
        raise ArgumentError(f"solver must be a reduced method for a problem with coefficient_bounds, got {method!r}")
    return method


def _check_callbacks(callbacks: Any, joint: bool) -> tuple[tuple[Callback, ...], Any]:
    """The callbacks that see records, and the one that operates on the network, if any."""
    everything = callbacks if isinstance(callbacks, Sequence) else (callbacks,)
    surgeons = [each for each in everything if hasattr(each, "operate")]
    if len(surgeons) > 1 or (surgeons and joint):
        raise ArgumentError("callbacks may hold one surgeon, for a reduced method: it needs C to be solved for")
    rest = [each for each in everything if each not in surgeons]
    return check_callbacks(rest if isinstance(callbacks, Sequence) else callbacks), (surgeons or [None])[0]


def _starts(
    reduced: ReducedProblem, initial_parameters: Any, rng: np.random.Generator, count: int, initialization: str
) -> list[Tensor]:
    problem = reduced.problem
    if initial_parameters is None and problem.features.can_sample:
        return [start.parameters for start in field_of_starts(reduced, rng, count, initialization)]
    if initialization != "auto":
        reason = "initial_parameters say where to start" if initial_parameters is not None else "the features have none"
        raise ArgumentError(f"initialization {initialization!r} is for random draws of the features, and {reason}")
    name = "initial_parameters" if initial_parameters is not None else "bounds"
    given = problem.initial_parameters if initial_parameters is None else initial_parameters
    theta = reduced.vector(given, "initial_parameters")
    if problem.bounds is not None and not torch.equal(problem.bounds.clip(theta), theta):
        raise ArgumentError(f"{name}: the start {theta.tolist()} lies outside of the bounds of the problem")
    return [theta]


def _solution(given: SeparableProblem, method: Method, choice: str, ending: Ending, elapsed: float) -> Solution:
    outcome, stage, start = ending
    point, problem = outcome.point, stage.reduced.problem
    if point is None:
        parameters, value, gradient_norm, rank = start, math.nan, math.nan, 0
        coefficients = problem.targets.new_full((problem.width, problem.outputs), math.nan)
    else:
        parameters, value, rank, coefficients = point.parameters, point.value, point.rank, point.coefficients
        gradient_norm = safe_norm(point.projected_gradient)
    return Solution(
        status=outcome.status,
        parameters=parameters,
        coefficients=coefficients,
        value=value,
        gradient_norm=gradient_norm,
        rank=rank,
        iterations=max(len(outcome.records) - 1, 0),
        elapsed=elapsed,
        history=columns(outcome.records),
        regularization=problem.regularization,
        method=method,
        choice=choice,
        predictor=problem.predict,
        problem=problem,
        regularization_choice=_chosen(given, point),
        operations=getattr(stage, "results", ()),
    )

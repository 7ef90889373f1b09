"""`solve`: from a separable problem to a solution."""

import math
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_count, safe_norm
from grassvp.callbacks import check_callbacks
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.operating import Operated
from grassvp.projection import Choice
from grassvp.reduced import ReducedProblem
from grassvp.relinearizing import Relinearizing, approached
from grassvp.schedules import schedule_of
from grassvp.scheduling import ENDED, Ending, Limits, merit, run_field, run_schedule
from grassvp.separable import SeparableProblem
from grassvp.solvers import (
    Callback,
    LevenbergMarquardt,
    Method,
    Solution,
    attempt,
    columns,
    resolve,
)
from grassvp.starts import INITIALIZATIONS, field_of_starts, perturbed

__all__ = ["generator", "solve"]


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
    callbacks: Sequence[Any] = (),
) -> Solution:
    """Minimise 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 with C eliminated by least squares.

    Args:
        problem: the separable problem. One that is the linearisation of a nonlinear problem is linearised again on the
            way, from the field that random features (or those of initial_parameters) lead Newton's method to; the value
            is that of the last linearisation, and its `linearized` has the nonlinear residual and all Newton steps.
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
    rng, limits = generator(seed), Limits.of(problem, max_iterations, max_time, tolerance, begin)
    if problem.linearized is not None:
        problem = approached(problem, _given(problem, initial_parameters), rng)
    single = max_iterations == 0 or joint
    schedule = schedule_of(problem, still=max_iterations == 0 or (joint and problem.rule is not None))
    schedule = schedule if problem.linearized is None else Relinearizing(schedule)
    schedule = schedule if surgeon is None else Operated(schedule, surgeon, rng)
    field = _starts(schedule.starting, initial_parameters, rng, 1 if single else starts, initialization)
    method, choice = resolve(method, attempt(ReducedProblem(problem), field[0]))
    best = last = run_field(schedule, method, field, limits, seers)
    for _ in range(restarts):
        outcome, stage, _ = best
        if outcome.point is None or last[0].stopped or last[0].status in ENDED:
            break
        again = [perturbed(stage.reduced, outcome.point.parameters, rng)]
        last = run_schedule(schedule.regularizing(stage.reduced.problem), method, again, limits, seers)
        best = min(best, last, key=merit)
    return _solution(problem, method, choice, best, time.perf_counter() - begin)


def generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """The numpy generator of a seed, or an exception that names it."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"seed must be an integer >= 0, a numpy Generator or None, got {seed!r}") from error


def _chosen(problem: SeparableProblem, point: Any) -> Choice | None:
    """What the problem's rule says at a point, None where there is nothing to say."""
    if problem.rule is None or point is None or not hasattr(point, "chosen"):
        return None
    return cast(Any, point).chosen(problem.rule)


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


def _given(problem: SeparableProblem, initial_parameters: Any) -> Tensor | None:
    """The parameters to start from, if any."""
    if initial_parameters is None:
        return None
    return ReducedProblem(problem).vector(initial_parameters, "initial_parameters")


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
    problem = problem.with_regularization(problem.regularization)  # a last stage may still have its continuation
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

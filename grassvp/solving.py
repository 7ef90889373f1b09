"""`solve`: from a separable problem to a solution."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_count, check_nonnegative, safe_norm
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import (
    Callback,
    GradientTolerance,
    LevenbergMarquardt,
    MaxIterations,
    MaxTime,
    Method,
    NonFinite,
    Outcome,
    Run,
    Solution,
    StoppingRule,
    columns,
    minimize,
)
from grassvp.starts import best_draws, random_feature_draws

__all__ = ["solve"]


def solve(
    problem: SeparableProblem,
    solver: Method | None = None,
    *,
    initial_parameters: Any = None,
    seed: int | np.random.Generator | None = None,
    starts: int = 4,
    max_iterations: int = 500,
    max_time: float | None = None,
    tolerance: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Solution:
    """Minimise 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 with C eliminated by least squares.

    Args:
        problem: the separable problem.
        solver: a method such as `LevenbergMarquardt()` (the default), `GaussNewton()` or `FirstOrder("lbfgs")`.
        initial_parameters: (q,) theta to start exactly from. None: features that can be sampled start from the best
            of several random draws, so that the result is never worse than random features of the same width; others
            start from their own parameters.
        seed: seed or numpy Generator of those draws; None for fresh entropy. Torch's and numpy's global generators are
            neither read nor set.
        starts: how many of those draws, one for each scale of the slopes, are tried by successive halving; a joint
            method runs from the best one only.
        max_iterations: accepted steps at most; 0 solves the linear part only.
        max_time: seconds at most, checked after each step.
        tolerance: CONVERGED where the gradient norm is at most this times ||W Y||_F^2; None for 4 eps of the floating
            type (9e-16 in float64).
        callbacks: each is called with every `IterationRecord` of the run that is chosen among the starts (from its
            first iterate, once it is chosen); returning True stops the solve.

    Returns:
        A `Solution`; a solve that fails says so in its status.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    method = LevenbergMarquardt() if solver is None else solver
    if not hasattr(method, "iterate") or isinstance(method, type):
        raise ArgumentTypeError(f"solver must be a method such as LevenbergMarquardt(), got {solver!r}")
    check_count(starts, "starts")
    if not isinstance(callbacks, Sequence) or not all(callable(callback) for callback in callbacks):
        raise ArgumentTypeError(f"callbacks must be a sequence of functions, got {callbacks!r}")
    rng = _generator(seed)
    rule = _stopping_rule(problem, max_iterations, max_time, tolerance)
    begin = time.perf_counter()
    reduced = ReducedProblem(problem)
    single = max_iterations == 0 or getattr(method, "objective", "reduced") == "joint"
    field = _starts(reduced, initial_parameters, rng, 1 if single else starts)
    runs = [Run(reduced, method, start, rule) for start in field]
    outcome = minimize(runs, tuple(callbacks))
    return _solution(problem, method, field[0], outcome, time.perf_counter() - begin)


def _stopping_rule(
    problem: SeparableProblem, max_iterations: int, max_time: float | None, tolerance: float | None
) -> StoppingRule:
    scale = safe_norm(problem.weighted_targets) ** 2
    relative = 4 * torch.finfo(problem.targets.dtype).eps if tolerance is None else tolerance
    rule = NonFinite() | GradientTolerance(check_nonnegative(relative, "tolerance") * scale)
    if max_time is not None:
        rule = rule | MaxTime(check_nonnegative(max_time, "max_time"))
    return rule | MaxIterations(check_count(max_iterations, "max_iterations", least=0))


def _generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"seed must be an integer >= 0, a numpy Generator or None, got {seed!r}") from error


def _starts(reduced: ReducedProblem, initial_parameters: Any, rng: np.random.Generator, count: int) -> list[Tensor]:
    if initial_parameters is not None:
        return [reduced.vector(initial_parameters, "initial_parameters")]
    if not reduced.problem.features.can_sample:
        return [reduced.initial_parameters]
    draws = random_feature_draws(reduced, rng)
    return [draw.parameters for draw in best_draws(draws, count)]


def _solution(problem: SeparableProblem, method: Method, start: Tensor, outcome: Outcome, elapsed: float) -> Solution:
    point = outcome.point
    if point is None:
        parameters, value, gradient_norm, rank = start, math.nan, math.nan, 0
        coefficients = problem.targets.new_full((problem.width, problem.outputs), math.nan)
    else:
        parameters, value, rank, coefficients = point.parameters, point.value, point.rank, point.coefficients
        gradient_norm = safe_norm(point.gradient)
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
        predictor=problem.predict,
    )

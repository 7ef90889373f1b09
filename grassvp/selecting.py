"""`minimize_criterion`: theta, C and lam at once, by a criterion instead of the regularised misfit."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from grassvp.arrays import check_count, check_nonnegative, safe_norm
from grassvp.callbacks import check_callbacks
from grassvp.criterion import CriterionProblem
from grassvp.errors import ArgumentError
from grassvp.projection import Evidence
from grassvp.solvers import (
    Callback,
    FirstOrder,
    GradientTolerance,
    MaxIterations,
    MaxTime,
    NonFinite,
    Run,
    Solution,
    columns,
    minimize,
)
from grassvp.solving import generator
from grassvp.starts import random_starts

__all__ = ["minimize_criterion"]


def minimize_criterion(
    problem: Any,
    criterion: Any = "gcv",
    *,
    solver: FirstOrder | None = None,
    initial_parameters: Any = None,
    seed: int | np.random.Generator | None = None,
    max_iterations: int = 500,
    max_time: float | None = None,
    tolerance: float = 1e-6,
    callbacks: Sequence[Callback] = (),
) -> Solution:
    """Minimise log GCV or the evidence over theta, with lam and C eliminated.

    What a fixed lam leaves to luck, how far theta follows the noise, the criterion counts. It is no sum of squares, so
    that a first-order method does it: start from a solution of `solve` where there is one.

    Args:
        problem: a `SeparableProblem` without bounds, offset or a rank tolerance of its own; its own lam is not used.
        criterion: "gcv", "evidence", or a rule such as `rules.GCV(weight=1.4)`.
        solver: a reduced `FirstOrder`; None for L-BFGS.
        initial_parameters: (q,) theta to start from. None: the best of several random draws where the features can be
            sampled, their own parameters otherwise.
        seed: of the draws.
        max_iterations: steps at most.
        max_time: seconds at most.
        tolerance: CONVERGED where the gradient norm is at most this; for the evidence, this times m k.
        callbacks: each is called with every `IterationRecord`; returning True stops.

    Returns:
        A `Solution` whose value and gradient norm are those of the criterion, with the lam and the C that go with it.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    begin = time.perf_counter()
    target = CriterionProblem(problem, criterion)
    method = FirstOrder("lbfgs") if solver is None else solver
    if not isinstance(method, FirstOrder) or method.objective != "reduced":
        raise ArgumentError(f"solver must be a FirstOrder with objective 'reduced', got {method!r}")
    check_callbacks(callbacks)
    separable = target.reduced.problem
    size = separable.counted_rows * separable.outputs if isinstance(target.rule, Evidence) else 1
    rule = NonFinite() | GradientTolerance(check_nonnegative(tolerance, "tolerance") * size)
    rule = rule if max_time is None else rule | MaxTime(check_nonnegative(max_time, "max_time"))
    rule = rule | MaxIterations(check_count(max_iterations, "max_iterations", least=0))
    start = _start(target, initial_parameters, generator(seed))
    outcome = minimize([Run(target, method, start, rule, begin)], callbacks)
    point: Any = outcome.point
    missing = separable.targets.new_full((separable.width, separable.outputs), float("nan"))
    return Solution(
        status=outcome.status,
        parameters=start if point is None else point.parameters,
        coefficients=missing if point is None else point.coefficients,
        value=float("nan") if point is None else point.value,
        gradient_norm=float("nan") if point is None else safe_norm(point.gradient),
        rank=0 if point is None else point.rank,
        iterations=max(len(outcome.records) - 1, 0),
        elapsed=time.perf_counter() - begin,
        history=columns(outcome.records),
        regularization=float("nan") if point is None else point.regularization,
        method=method,
        choice="gradients of the criterion alone",
        predictor=separable.predict,
        problem=separable if point is None else point.linearization.problem,
    )


def _start(target: CriterionProblem, given: Any, rng: np.random.Generator) -> Tensor:
    reduced = target.reduced
    if given is not None or not reduced.problem.features.can_sample:
        return reduced.vector(target.initial_parameters if given is None else given, "initial_parameters")
    drawn = [start.parameters for start in random_starts(reduced, rng, draws=1)]
    return min(drawn, key=target.value)

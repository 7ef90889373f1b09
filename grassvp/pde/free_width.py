"""Solving an equation with a network of free width: random features while they serve, training where they do not.

Smooth solutions in few dimensions are found to rounding by least squares on a few hundred random sines, in less time
than one iteration of training takes. Where that leaves a residual - steep layers, many dimensions - a narrower network
is trained. Everything is judged by the residual at points that were not fitted, never by an exact solution.
"""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentTypeError, NonFiniteError
from grassvp.features import mlp
from grassvp.jacobians import weighted
from grassvp.pde.collocation import Collocation
from grassvp.pde.starts import Start, left_at
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution, Status
from grassvp.solving import solve

__all__ = ["FreeWidth", "solve_at_free_width"]

Collocate = Callable[[Any, int, int], Collocation]
"""(network, interior, boundary) -> the collocation with fresh points."""

SCALES = (0.03, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)  # slopes per half-range that the narrowest network is tried with
AROUND = (2**-0.5, 1.0, 2**0.5)  # and the wider ones, times what served the last one best
STALLED = 0.3  # share of the residual that a network twice as wide must come below for a still wider one to be tried
CUT = 1e-15  # singular values, relative to the largest: a single linear solve bears what training does not


@dataclass(frozen=True)
class FreeWidth:
    """What is tried.

    Attributes:
        widths: of the random features, ascending.
        rows: interior points for each feature.
        edges: rows of the conditions for each feature.
        tolerance: relative residual at fresh points at which nothing more is tried.
        trained: width of the network that is trained where random features end above `sufficient`; 0 for none.
        sufficient: see there.
    """

    widths: Sequence[int] = (100, 200, 400, 800)
    rows: float = 3.0
    edges: float = 0.5
    tolerance: float = 3e-13
    trained: int = 64
    sufficient: float = 1e-7


@dataclass(frozen=True, eq=False)
class _Tried:
    solution: Solution
    residual: float
    scale: float


def solve_at_free_width(
    collocate: Collocate, inputs: int, faces: int, rng: np.random.Generator, options: FreeWidth, **solving: Any
) -> Solution:
    """The solution of least relative residual at fresh points; Ctrl-C leaves the best so far.

    Args:
        collocate: makes collocations.
        inputs: how many inputs a network has.
        faces: least rows of the conditions.
        rng: of the features.
        options: what is tried.
        **solving: of `grassvp.solve`, where a network is trained.

    Raises:
        ArgumentTypeError: an option that `grassvp.solve` has not, or that says where to start.
    """
    _check_options(solving)
    begin, best = time.perf_counter(), None
    try:
        for width in options.widths:
            scales = SCALES if best is None else [best.scale * factor for factor in AROUND]
            found = _random(collocate, inputs, width, faces, scales, rng, options)
            last, best = best, found if best is None else min((best, found), key=lambda each: each.residual)
            if best.residual <= options.tolerance or (last and best.residual > STALLED * last.residual):
                break
        if best is not None and options.trained and best.residual > options.sufficient:
            trained = _trained(collocate, inputs, faces, rng, options, **solving)
            best = min((best, trained), key=lambda each: each.residual)
    except KeyboardInterrupt:
        if best is None:
            raise
        best = replace(best, solution=replace(best.solution, status=Status.INTERRUPTED))
    return replace(cast(_Tried, best).solution, elapsed=time.perf_counter() - begin)


def _check_options(solving: dict[str, Any]) -> None:
    known = set(inspect.signature(solve).parameters) - {"problem", "seed", "initial_parameters"}
    strange = set(solving) - known
    if strange:
        raise ArgumentTypeError(f"solve at free width has no option {', '.join(sorted(strange))}")


def _counts(width: int, faces: int, options: FreeWidth) -> tuple[int, int]:
    return math.ceil(options.rows * width), max(math.ceil(options.edges * width), faces)


def _random(
    collocate: Collocate,
    inputs: int,
    width: int,
    faces: int,
    scales: Sequence[float],
    rng: np.random.Generator,
    options: FreeWidth,
) -> _Tried:
    """The best random features of a width, by linear solves alone, or by Newton's method for C."""
    network, counts = mlp(inputs, (width,), activation="sin"), _counts(width, faces, options)
    cut = {"regularization": 0.0, "rank_tolerance": CUT}
    fitted, fresh = (replace(each, options=cut | each.options) for each in _pair(collocate, network, counts))
    problem, tried = fitted.problem(), []
    judged = _judge(problem, fresh)
    for scale in scales:
        theta = Start(scale, spread=scale < 1.0).parameters(problem, rng)
        tried.append((judged(theta), scale, theta))
    residual, scale, theta = min(tried, key=lambda each: each[0])
    return _Tried(solve(problem, initial_parameters=theta, max_iterations=0), residual, scale)


def _pair(collocate: Collocate, network: Any, counts: tuple[int, int]) -> tuple[Collocation, Collocation]:
    """Points to fit and points to judge by."""
    return collocate(network, *counts), collocate(network, *counts)


def _judge(problem: SeparableProblem, fresh: Collocation) -> Callable[[Tensor], float]:
    """Theta -> the relative residual at fresh points that the best C leaves, infinite where there is none."""
    if not fresh.equations.linear:
        return lambda theta: left_at(solve(problem, initial_parameters=theta, max_iterations=0), fresh)
    other = fresh.problem()
    size = float(torch.linalg.vector_norm(other.weighted_targets)) or 1.0

    @torch.no_grad()
    def left(theta: Tensor) -> float:
        try:
            C = problem.project(problem.features(theta, problem.inputs)).coefficients
        except NonFiniteError:
            return math.inf
        misfit = weighted(other.fitted(other.features(theta, other.inputs), C) - other.targets, other.weights)
        found = float(torch.linalg.vector_norm(misfit)) / size
        return found if math.isfinite(found) else math.inf

    return left


def _trained(
    collocate: Collocate, inputs: int, faces: int, rng: np.random.Generator, options: FreeWidth, **solving: Any
) -> _Tried:
    network = mlp(inputs, (options.trained,), activation="tanh")
    fitted, fresh = _pair(collocate, network, _counts(8 * options.trained, faces, options))
    solution = solve(fitted.problem(), seed=rng, **solving)
    return _Tried(solution, left_at(solution, fresh), math.nan)

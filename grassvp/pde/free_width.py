"""Solving an equation with a network of free width: random features while they serve, training where they do not.

Smooth solutions in few dimensions are found to rounding by least squares on a few hundred random sines, in less time
than one iteration of training takes. Where that leaves a residual - steep layers, many dimensions - a narrower network
is trained. Everything is judged by the residual at points that were not fitted, never by an exact solution.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.features import mlp
from grassvp.pde.collocation import Collocation
from grassvp.pde.measures import relative_residual
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution
from grassvp.solving import solve

__all__ = ["FreeWidth", "solve_at_free_width"]

Collocate = Callable[[Any, int, int], Collocation]
"""(network, interior, boundary) -> the collocation with fresh points."""

SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)  # slopes per half-range that the narrowest network is tried with
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
    """The solution of least relative residual at fresh points.

    Args:
        collocate: makes collocations.
        inputs: how many inputs a network has.
        faces: least rows of the conditions.
        rng: of the features.
        options: what is tried.
        **solving: of `grassvp.solve`, where a network is trained.
    """
    begin = time.perf_counter()
    best = None
    for width in options.widths:
        scales = SCALES if best is None else [best.scale * factor for factor in AROUND]
        found = _random(collocate, inputs, width, faces, scales, rng, options)
        last, best = best, min((each for each in (best, found) if each is not None), key=lambda each: each.residual)
        if best.residual <= options.tolerance or (last and best.residual > STALLED * last.residual):
            break
    if options.trained and best.residual > options.sufficient:  # pyright: ignore[reportOptionalMemberAccess]
        trained = _trained(collocate, inputs, faces, rng, options, **solving)
        best = min((best, trained), key=lambda each: each.residual)  # pyright: ignore[reportOptionalMemberAccess]
    return replace(best.solution, elapsed=time.perf_counter() - begin)  # pyright: ignore[reportOptionalMemberAccess]


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
    """The best random features of a width."""
    network = mlp(inputs, (width,), activation="sin")
    counts = _counts(width, faces, options)
    cut = {"regularization": 0.0, "rank_tolerance": CUT}
    problem, fresh = (replace(each, options=cut | each.options).problem() for each in _pair(collocate, network, counts))
    thetas = [problem.features.sample(rng, problem.inputs, scale) for scale in scales]
    left = [_left(problem, fresh, theta) for theta in thetas]
    best = int(np.argmin(left))
    solution = solve(problem, initial_parameters=thetas[best], max_iterations=0)
    return _Tried(solution, left[best], scales[best])


def _pair(collocate: Collocate, network: Any, counts: tuple[int, int]) -> tuple[Collocation, Collocation]:
    """Points to fit and points to judge by."""
    return collocate(network, *counts), collocate(network, *counts)


@torch.no_grad()
def _left(problem: SeparableProblem, fresh: SeparableProblem, theta: Tensor) -> float:
    """The relative residual at the fresh points, inf where the features are not finite."""
    try:
        C = problem.project(problem.features(theta, problem.inputs)).coefficients
    except NonFiniteError:
        return math.inf
    return relative_residual(fresh, theta, C)


def _trained(
    collocate: Collocate, inputs: int, faces: int, rng: np.random.Generator, options: FreeWidth, **solving: Any
) -> _Tried:
    network = mlp(inputs, (options.trained,), activation="tanh")
    counts = _counts(8 * options.trained, faces, options)
    fitted, fresh = _pair(collocate, network, counts)
    solution = solve(fitted.problem(), seed=rng, **solving)
    left = relative_residual(fresh.problem(), solution.parameters, solution.coefficients)
    return _Tried(solution, left if math.isfinite(left) else math.inf, math.nan)

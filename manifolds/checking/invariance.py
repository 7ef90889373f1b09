"""Whether a cost and its gradient belong to a point, not to its representative."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from manifolds.checking.differences import noise_level
from manifolds.checking.reports import Check, at_most
from manifolds.checking.sampling import random_point, unit_vector
from manifolds.checking.symmetries import Symmetry
from manifolds.checking.vectors import norm, precision

__all__ = ["invariance_checks"]

POINTS = 4
VALUE, GRADIENT = 1e-10, 1e-7
SPACING = 2.0**-20


def invariance_checks(
    problem: Any, symmetries: list[Symmetry], point: Any, rng: np.random.Generator
) -> Iterator[Check]:
    """The value under every symmetry, and the gradient under the linear ones if the problem has one."""
    points = [random_point(problem.manifold, rng) for _ in range(POINTS)]
    points = points if point is None else [point, *points]
    values = [cost(problem, x) for x in points]
    eps = precision(*points, problem.cost(points[0]))
    largest, spread = float(np.max(np.abs(values))), float(np.ptp(values))
    rounding = 1e3 * eps * largest
    scale = (spread if spread > rounding else largest) or 1.0
    bound = max(VALUE, 100 * eps) + (rounding + 30 * noise(problem, points[0], rng)) / scale
    for symmetry in symmetries:
        changes = [(x, symmetry.change(x, rng)) for x in points]
        error = max(abs(cost(problem, change(x)) - value) for (x, change), value in zip(changes, values, strict=True))
        meaning = f"The cost changes by {error:.2g}: it is a function of the representative, not of the point."
        yield at_most(f"value, {symmetry.name}", "f(g x) = f(x)", error / scale, bound, meaning)
        if symmetry.linear:
            yield from gradient_check(problem, symmetry.name, changes, max(GRADIENT, 100 * eps), rounding)


def gradient_check(problem: Any, name: str, changes: list, tolerance: float, rounding: float) -> Iterator[Check]:
    """Hold grad f(g x) to g grad f(x), relative to the largest gradient; nothing without a gradient."""
    manifold = problem.manifold
    try:
        gradients = [problem.riemannian_gradient(x) for x, _ in changes]
    except NotImplementedError:
        return
    unit = max(norm(manifold, x, gradient) for (x, _), gradient in zip(changes, gradients, strict=True)) or 1.0
    error = 0.0
    for (x, change), gradient in zip(changes, gradients, strict=True):
        y = change(x)
        error = max(error, norm(manifold, y, problem.riemannian_gradient(y) - change(gradient)))
    meaning = "The gradient does not turn with the representative: it is not the lift of a vector at the point."
    yield at_most(f"gradient, {name}", "grad f(g x) = g grad f(x)", error / unit, tolerance + rounding / unit, meaning)


def noise(problem: Any, point: Any, rng: np.random.Generator) -> float:
    """Rounding errors of the cost, measured near a point."""
    vector = unit_vector(problem.manifold, point, rng)
    return noise_level(lambda t: cost(problem, problem.manifold.retraction(point, t * vector)), SPACING)


def cost(problem: Any, point: Any) -> float:
    """The cost as a float."""
    return float(np.real(problem.cost(point)))

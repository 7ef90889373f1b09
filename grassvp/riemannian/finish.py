"""The finish of a run: Newton steps that lower the gradient norm where values have become rounding.

A descent method compares values, and at a distance d from a minimum they differ by d^2: it cannot tell points apart
that are closer than sqrt(eps). The gradient is of the size of d, so steps that are judged by it reach eps.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.riemannian.recorder import Recorder
from grassvp.riemannian.tangents import tangent_basis
from grassvp.solvers.status import Status

__all__ = ["finish"]

DENSE = 256  # dimensions up to which the Hessian is formed
CUTOFFS = (1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3)  # eigenvalues below these, relative to the largest, are left out
NEGATIVE = 1e-9  # relative curvature that counts as negative
MAX_PRODUCTS = 500
RESIDUAL = 1e-10  # relative, of the truncated CG


@dataclass(frozen=True)
class Model:
    """What second order says at a point.

    Attributes:
        steps: tangent vectors toward a critical point, the most ambitious one first.
        escape: unit vector of negative curvature, or None.
        curvature: the Hessian's value on it.
    """

    steps: list[Any]
    escape: Any
    curvature: float


def finish(recorder: Recorder, threshold: float = 0.0, limit: int = 50) -> Status:
    """Newton steps from the best point; ends by `Stop` where the run's rules say so, else by the status returned.

    A step is accepted if it lowers the gradient norm and the value does not grow beyond rounding, or, while the
    gradient norm is above `threshold`, if it lowers the value. Where the Hessian has negative curvature along which
    the value falls, that is followed instead, so that the finish never ends at a saddle that the descent was leaving.
    The Hessian is dense with a pseudo-inverse up to dimension 256, a truncated conjugate-gradient solve beyond.
    """
    recorder.polishing = True
    point = recorder.best
    for _ in range(limit):
        point = _advance(recorder, point, threshold)
        if point is None:
            return Status.STALLED
        recorder.visit(point)
    return Status.STALLED


def _advance(recorder: Recorder, point: Any, threshold: float) -> Any:
    """The next point, or None where no step helps."""
    model = _dense(recorder, point) if recorder.evaluator.manifold.dim <= DENSE else _truncated(recorder, point)
    candidates = itertools.chain(_escapes(recorder, point, model), _newton(recorder, point, model, threshold))
    return next(candidates, None)


def _escapes(recorder: Recorder, point: Any, model: Model) -> Iterator[Any]:
    """Points along negative curvature whose value falls as the curvature says."""
    if model.escape is None:
        return
    evaluator, value = recorder.evaluator, recorder.evaluator.value(point)
    for exponent, sign in itertools.product(range(12), (1.0, -1.0)):
        t = sign * 0.5**exponent
        trial = _retract(recorder, point, t * model.escape)
        if trial is not None and evaluator.value(trial) < value - 0.05 * abs(model.curvature) * t**2:
            yield trial


def _newton(recorder: Recorder, point: Any, model: Model, threshold: float) -> Iterator[Any]:
    evaluator = recorder.evaluator
    value, length = evaluator.value(point), evaluator.gradient_norm(point)
    slack = 16 * recorder.rounding(value)
    for step in model.steps:
        slope = evaluator.inner(point, evaluator.gradient(point), step)
        for t in (1.0, 0.5, 0.25, 1 / 16, 1 / 64):
            trial = _retract(recorder, point, t * step)
            if trial is None:
                continue
            reached = evaluator.value(trial)
            lower = length > threshold and reached < value - max(slack, 1e-4 * t * abs(slope))
            if lower or (reached <= value + slack and evaluator.gradient_norm(trial) < 0.9 * length):
                yield trial


def _retract(recorder: Recorder, point: Any, vector: Any) -> Any:
    """The retraction, or None where the manifold has no such point."""
    try:
        return recorder.evaluator.manifold.retraction(point, vector)
    except (ValueError, ArithmeticError):
        return None


def _dense(recorder: Recorder, point: Any) -> Model:
    """Eigenvalues of the Hessian: steps with pseudo-inverses of |H|, negative curvature from the least one."""
    evaluator = recorder.evaluator
    basis = tangent_basis(evaluator.manifold, point)
    g = basis.coordinates(evaluator.gradient(point))
    if basis.dim == 0:
        return Model([], None, 0.0)
    w, V = np.linalg.eigh(basis.hessian(lambda vector: evaluator.hessian(point, vector)))
    top = float(np.abs(w).max())
    if top == 0.0:
        return Model([], None, 0.0)
    components, least = V.T @ g, float(w[0])
    steps, kept = [], None
    for cutoff in CUTOFFS:
        # Directions that look null, or negative by no more than that, are left alone: Newton has nothing to say there.
        use = w > cutoff * top
        if kept is not None and np.array_equal(use, kept):
            continue
        kept = use
        steps.append(basis.vector(-(V[:, use] @ (components[use] / w[use]))))
    negative = least < -NEGATIVE * top
    sign = -1.0 if components[0] > 0 else 1.0
    return Model(steps, basis.vector(sign * V[:, 0]) if negative else None, least)


def _truncated(recorder: Recorder, point: Any) -> Model:
    """Conjugate gradients on H s = -g, until the residual is small or a direction of negative curvature turns up."""
    evaluator = recorder.evaluator
    residual = -evaluator.gradient(point)
    step, direction = 0.0 * residual, residual
    square = start = evaluator.inner(point, residual, residual)
    top = 0.0
    for _ in range(min(MAX_PRODUCTS, 2 * evaluator.manifold.dim)):
        image = evaluator.hessian(point, direction)
        bend = evaluator.inner(point, direction, image)
        length = evaluator.inner(point, direction, direction)
        top = max(top, abs(bend) / length)
        if bend <= NEGATIVE * top * length:
            negative = bend < -NEGATIVE * top * length
            unit = direction / math.sqrt(length)
            return Model([step], unit if negative else None, bend / length)
        step = step + (square / bend) * direction
        residual = residual - (square / bend) * image
        previous, square = square, evaluator.inner(point, residual, residual)
        if square <= RESIDUAL**2 * start:
            break
        direction = residual + (square / previous) * direction
    return Model([step], None, 0.0)

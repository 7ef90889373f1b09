"""A pymanopt problem with its evaluations counted, remembered by content, and bounded in time."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pymanopt

from grassvp.errors import NonFiniteError
from grassvp.riemannian.memo import Memo
from grassvp.solvers.status import Status

__all__ = ["Evaluator", "Stop", "has_hessian", "is_finite"]


class Stop(Exception):  # noqa: N818 - not an error: it carries the reason to stop through an optimizer
    """Raised inside an optimizer to end it."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


class Evaluator:
    """Value, gradient and Hessian products of a problem.

    A cost that is NaN counts as infinite, so that a line search backs off from it; `NonFiniteError` and points that
    are not finite count as such a cost. Derivatives that are not finite stop the run.

    Args:
        problem: the problem.
        deadline: `time.perf_counter()` after which evaluations stop the run.
    """

    def __init__(self, problem: pymanopt.Problem, deadline: float = math.inf) -> None:
        self.problem, self.deadline = problem, deadline
        self.manifold: Any = problem.manifold
        self.counts = {"cost": 0, "gradient": 0, "hessian": 0}
        self.started = self.evaluating = False
        self._values: Memo[float] = Memo(self._value)
        self._gradients: Memo[Any] = Memo(self._gradient)

    def value(self, point: Any) -> float:
        """The cost at `point`."""
        return self._values(point)

    def gradient(self, point: Any) -> Any:
        """A copy of the Riemannian gradient."""
        return 1.0 * self._gradients(point)

    def hessian(self, point: Any, vector: Any) -> Any:
        """The Riemannian Hessian applied to a tangent vector."""
        image = self._evaluate("hessian", lambda: self.problem.riemannian_hessian(point, vector))
        if image is None or not is_finite(image):
            raise Stop(Status.NON_FINITE)
        return self.tangent(point, image)

    def gradient_norm(self, point: Any) -> float:
        """Length of the Riemannian gradient."""
        gradient = self._gradients(point)
        return self.norm(point, gradient) if is_finite(gradient) else math.nan

    def norm(self, point: Any, vector: Any) -> float:
        """Length of a tangent vector."""
        return float(np.real(self.manifold.norm(point, vector)))

    def inner(self, point: Any, first: Any, second: Any) -> float:
        """Inner product of two tangent vectors."""
        return float(np.real(self.manifold.inner_product(point, first, second)))

    def tangent(self, point: Any, vector: Any) -> Any:
        """`vector` with the arithmetic of the manifold's tangent vectors, which plain lists and tuples lack."""
        return self.manifold.zero_vector(point) + vector if type(vector) in (list, tuple) else vector

    def _value(self, point: Any) -> float:
        found = self._evaluate("cost", lambda: self.problem.cost(point)) if is_finite(point) else None
        value = math.inf if found is None else float(np.real(found))
        return math.inf if math.isnan(value) else value

    def _gradient(self, point: Any) -> Any:
        found = self._evaluate("gradient", lambda: self.problem.riemannian_gradient(point))
        if found is None:
            return math.nan * self.manifold.zero_vector(point)
        return self.tangent(point, found)

    def _evaluate(self, kind: str, function: Callable[[], Any]) -> Any:
        """One evaluation; None where the features overflow."""
        if self.started and time.perf_counter() >= self.deadline:
            raise Stop(Status.MAX_TIME)
        self.counts[kind] += 1
        self.evaluating = True
        try:
            result = function()
        except NonFiniteError:
            result = None
        self.evaluating = False  # stays true where an exception of the problem passes through
        return result


def has_hessian(evaluator: Evaluator, point: Any) -> bool:
    """Whether the problem has a Hessian, found by evaluating it once along the gradient at `point`."""
    if evaluator.counts["hessian"] > 0:
        return True
    try:
        evaluator.hessian(point, evaluator.gradient(point))
    except NotImplementedError:
        evaluator.counts["hessian"] = 0
        evaluator.evaluating = False
        return False
    except Stop:  # it has one, which is not finite there
        return True
    return True


def is_finite(value: Any) -> bool:
    """Whether every number of an array, or of a list or tuple of arrays, is finite."""
    if isinstance(value, list | tuple):
        return all(is_finite(part) for part in value)
    return bool(np.all(np.isfinite(value)))

"""The iteration behind every descent method: model, propose, try, accept."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.solvers.models import Step
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, attempt
from grassvp.solvers.searches import Search
from grassvp.solvers.status import Status

__all__ = ["descend"]

Descent = Callable[[LeastSquaresPoint, Any, float], Any]


def descend(
    problem: LeastSquaresProblem, start: Tensor, descent: Descent, search: Search
) -> Generator[Iterate, None, Status]:
    """Yields each accepted iterate and returns why there is no further one."""
    point, evaluations, control, model = attempt(problem, start), 1, search.start(), None
    if point is None:
        return Status.NON_FINITE
    yield Iterate(point, 0.0, control.level, evaluations)
    while True:
        model = descent(point, model, control.level)
        if not model.finite:
            return Status.NON_FINITE
        accepted = None
        while accepted is None:
            step, control = search.propose(model, control)
            step = _inside(step, point, model)
            still = _moves_nothing(step.vector, point.parameters)
            if still or search.exhausted(control):
                return _no_further(point, step, still)
            trial = None if step.refused else attempt(problem, _ahead(point, step))
            evaluations += step.evaluations + (not step.refused)
            used = control.level
            success, control = search.judge(step, _reduction(point, trial, step), control)
            accepted = trial if success else None
        by_gradient = not step.predicted_reduction > point.value_rounding
        point = accepted
        yield Iterate(point, float(torch.linalg.vector_norm(step.vector)), used, evaluations, by_gradient)


def _inside(step: Step, point: LeastSquaresPoint, model: Any) -> Step:
    """The step cut off at the bounds, with what the model says of what is left of it."""
    if point.bounds is None or step.refused:
        return step
    ahead, clipped = point.parameters + step.vector, _ahead(point, step)
    if torch.equal(clipped, ahead):
        return step
    return replace(model.moved(clipped - point.parameters), evaluations=step.evaluations)


def _ahead(point: LeastSquaresPoint, step: Step) -> Tensor:
    """Where the step leads; of a step to a bound, the bound itself, which adding and subtracting may miss."""
    ahead = point.parameters + step.vector
    return ahead if point.bounds is None else point.bounds.clip(ahead)


def _reduction(point: LeastSquaresPoint, trial: LeastSquaresPoint | None, step: Step) -> float:
    """By how much the trial lowers the value; the prediction stands in where the difference of values is rounding.

    Near a minimum with a residual the value cannot tell two points apart long before the gradient is small. There a
    step counts as predicted if it lowers the gradient norm, and as a failure if it does not.
    """
    if trial is None:
        return -1.0
    if step.predicted_reduction > point.value_rounding:
        reduction = point.value - trial.value
        return reduction if reduction <= 0 or bool(torch.isfinite(trial.gradient).all()) else -1.0
    lower = safe_norm(trial.projected_gradient) < safe_norm(point.projected_gradient)
    return step.predicted_reduction if lower else -1.0


def _no_further(point: LeastSquaresPoint, step: Step, still: bool) -> Status:
    """Why no step is taken any more."""
    if not point.differentiable:
        return Status.RANK_DEFICIENT
    return Status.STALLED if still or step.predicted_reduction <= point.value_rounding else Status.DAMPED_OUT


def _moves_nothing(step: Tensor, parameters: Tensor) -> bool:
    """True where no parameter would change at working precision."""
    return bool((step.abs() <= torch.finfo(step.dtype).eps * parameters.abs()).all())

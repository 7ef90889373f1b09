"""The iteration behind every descent method: model, propose, try, accept."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.solvers.last_resort import ROUNDINGS, downhill
from grassvp.solvers.models import Step
from grassvp.solvers.protocols import Iterate, LeastSquaresPoint, LeastSquaresProblem, attempt
from grassvp.solvers.searches import Control, Search
from grassvp.solvers.status import Status

__all__ = ["descend"]

Descent = Callable[[LeastSquaresPoint, Any, float], Any]


@dataclass(frozen=True)
class _Trials:
    """What the trials of one model came to: the point accepted, if any, the last step and the control after it."""

    accepted: LeastSquaresPoint | None
    step: Step
    used: float
    control: Control
    evaluations: int
    still: bool = False


def descend(
    problem: LeastSquaresProblem, start: Tensor, descent: Descent, search: Search
) -> Generator[Iterate, None, Status]:
    """Yields each accepted iterate and returns why there is no further one.

    Before that the gradient itself is tried, and then the descent and the search afresh in their plain forms: what a
    refinement, or a damping that came from far away, cannot find is no reason to stop.
    """
    point, evaluations, control, model, afresh = attempt(problem, start), 1, search.start(), None, False
    begun = math.inf  # value at which the search was last begun afresh: once more only where it has fallen since
    if point is None:
        return Status.NON_FINITE
    yield Iterate(point, 0.0, control.level, evaluations)
    while True:
        model = (_plain(descent) if afresh else descent)(point, model, control.level)
        if not model.finite:
            return Status.NON_FINITE
        trials = _trials(problem, point, model, _plain(search) if afresh else search, control)
        evaluations += trials.evaluations
        if trials.accepted is not None:
            by_gradient = not trials.step.predicted_reduction > point.value_rounding
            point, control, afresh = trials.accepted, trials.control, False
            length = float(torch.linalg.vector_norm(trials.step.vector))
            yield Iterate(point, length, trials.used, evaluations, by_gradient)
            continue
        ahead, looked_at = (None, 0) if afresh else downhill(problem, point)
        evaluations += looked_at
        if ahead is not None:
            length = float(torch.linalg.vector_norm(ahead.parameters - point.parameters))
            point, control, model = ahead, search.start(), None
            yield Iterate(point, length, trials.used, evaluations)
        elif (
            afresh
            or not point.value < begun - point.value_rounding
            or (control, _plain(search), _plain(descent)) == (search.start(), search, descent)
        ):
            return _no_further(point, trials.step, trials.still)
        else:
            control, model, afresh, begun = _plain(search).start(), None, True, point.value


def _trials(
    problem: LeastSquaresProblem, point: LeastSquaresPoint, model: Any, search: Search, control: Control
) -> _Trials:
    """Steps of one model, until one is accepted or there is nothing left to try."""
    evaluations = 0
    while True:
        step, control = search.propose(model, control)
        step = _inside(step, point, model)
        still = _moves_nothing(step.vector, point.parameters)
        if still or search.exhausted(control):
            return _Trials(None, step, control.level, control, evaluations, still)
        trial = None if step.refused else attempt(problem, _ahead(point, step))
        evaluations += step.evaluations + (not step.refused)
        used = control.level
        success, control = search.judge(step, _reduction(point, trial, step), control)
        if success:
            return _Trials(trial, step, used, control, evaluations)


def _plain(part: Any) -> Any:
    """A descent or a search without its refinements."""
    return getattr(part, "plain", part)


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
    step counts as predicted if it lowers the gradient norm, and as a failure if it does not, or if the value rises by
    more than its rounding, as it does where the rank drops at lam = 0.
    """
    if trial is None:
        return -1.0
    if step.predicted_reduction > point.value_rounding:
        reduction = point.value - trial.value
        return reduction if reduction <= 0 or bool(torch.isfinite(trial.gradient).all()) else -1.0
    if trial.value - point.value > ROUNDINGS * (point.value_rounding + trial.value_rounding):
        return -1.0
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
